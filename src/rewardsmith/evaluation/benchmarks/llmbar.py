"""LLMBar (Zeng et al. 2023, arXiv 2310.07641).

Rows `input, output_1, output_2, label` with label 1 or 2, in `dataset.json` files whose folders name the subset
(Natural, Adversarial/Neighbor, ...). A pair is right when the labelled output scores strictly higher. The score is the
accuracy over all pairs; the mean over the subsets, which papers also report, is a part. Of a copy of the authors'
whole `Dataset` folder only LLMBar's own subsets are read, never the results of evaluators that lie beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import IN_PUBLISHED_ORDER, Benchmark, by, labelled, mean_of, pair_accuracy
from rewardsmith.evaluation.benchmarks.rows import need, subset_of
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    label = str(need(where, row, "label"))
    if label not in ("1", "2"):
        raise DataError(f"{where}: label must be 1 or 2, not {label!r}")
    pair = (need(where, row, "output_1"), need(where, row, "output_2"))
    yield labelled(where, need(where, row, "input"), pair, int(label) - 1, subset=subset_of(row))


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy; parts are the subsets, where the folders name several, and their mean."""
    parts = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "subset").items())}
    if len(parts) < 2:
        return pair_accuracy(scored, how), {}
    adversarial = {name: part for name, part in parts.items() if "Adversarial" in name}
    means = {"mean of subsets": mean_of(parts)}
    if len(adversarial) > 1:
        means["mean of Adversarial"] = mean_of(adversarial)
    return pair_accuracy(scored, how), {**parts, **means}


OWN = (r"(^|/)(Natural|Adversarial/[^/]+|Neighbor|GPTInst|GPTOut|Manual)/dataset\.json$", r"(^|/)dataset\.json$")
BENCHMARK = Benchmark(read, summarise, patterns=OWN, rules=IN_PUBLISHED_ORDER)
