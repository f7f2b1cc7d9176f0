"""JudgeBench (Tan et al. 2024, arXiv 2410.12784), `ScalerLab/JudgeBench`, split `gpt` (350 pairs) or `claude` (270).

A reward model plays one game: it is right when the answer it scores strictly higher is the labelled one. The authors
report the micro average; some papers report the macro mean of the four sources. Both are parts; the score is micro.
The authors' code reads equal scores as "B>A", which is right on about half of such pairs; that figure is a part, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import IN_PUBLISHED_ORDER, Benchmark, by, labelled, mean_of, pair_accuracy
from rewardsmith.evaluation.benchmarks.rows import need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import prompt_clusters
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling, bootstrap_mean

LABELS = {"A>B": 0, "B>A": 1}


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row; all MMLU-Pro subjects are one source."""
    label = need(where, row, "label")
    if label not in LABELS:
        raise DataError(f"{where}: label must be 'A>B' or 'B>A', not {label!r}")
    source = str(need(where, row, "source"))
    source = "mmlu-pro" if source.startswith("mmlu-pro") else source
    pair = (need(where, row, "response_A"), need(where, row, "response_B"))
    yield labelled(where, need(where, row, "question"), pair, LABELS[label], subset=source)


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the micro average; parts are the sources and both averages."""
    sources = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "subset").items())}
    micro = pair_accuracy(scored, how)
    hits = [float((item.rewards[0] > item.rewards[1]) == (item.group.comparisons[0].better == 0)) for item in scored]
    as_b = bootstrap_mean(hits, prompt_clusters(scored), how.resamples, how.seed)
    return micro, {**sources, "micro": micro, "macro": mean_of(sources), "micro, ties as B>A": as_b}


# A copy of the authors' repository also holds the judgements of every judge, beside the two files of pairs.
FILES = (r"(^|/)dataset=judgebench,response_model=[^,/]+\.jsonl$",)
BENCHMARK = Benchmark(read, summarise, "gpt", FILES, rules=IN_PUBLISHED_ORDER)
