"""Benchmarks whose rule is strict accuracy over labelled pairs, overall or by subset; they differ in layout and parts.

auto-j (Li et al. 2023, arXiv 2310.05470): `scenario, label, prompt, response 1, response 2`, label 0 first, 1 second, 2
tie (left out). The authors' agreement of judges, over the three labels of all rows, is a part.
HHH (Askell et al. 2021, arXiv 2112.00861): `input, targets: {choices, labels}` or BIG-bench's `input, target_scores`,
label 1 marking the better of two; the folder or hub configuration is the subset. "\\n\\nHuman:" turns in the input are
read as a conversation.
EvalBiasBench (Park et al. 2024, arXiv 2407.06551): an object of bias name to rows `instruction, chosen/rejected or
output_1/output_2, label`; the score is the mean over the biases.

JudgeBench (Tan et al. 2024, arXiv 2410.12784), `ScalerLab/JudgeBench`, split `gpt` (350 pairs) or `claude` (270).

A reward model plays one game: it is right when the answer it scores strictly higher is the labelled one. The authors
report the micro average; some papers report the macro mean of the four sources. Both are parts; the score is micro.
The authors' code reads equal scores as "B>A", which is right on about half of such pairs; that figure is a part, too.

PandaLM's test set (Wang et al. 2023, arXiv 2306.05087), `testset-v1.json`: three annotators a pair.

The label is the majority of `annotator1..3` (0 tie, 1, 2); three different votes are a tie. A scalar reward hardly
ever ties, so the score is strict accuracy over pairs whose majority prefers a side; the share of ties is a part. So is
the ceiling: how often one annotator agrees with the majority on those pairs. The authors' own figure for judges, the
accuracy over the three verdicts of all pairs, is a part; it takes `annotator1` where all three differ. Some responses
are JSON booleans and are read as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.data.sets.layouts import split_turns
from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import (
    IN_PUBLISHED_ORDER,
    Benchmark,
    by,
    labelled,
    mean_of,
    pair_accuracy,
    three_way_accuracy,
    verdicts,
)
from rewardsmith.evaluation.benchmarks.rows import KEY, need, subset_of
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import prompt_clusters
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling, clustered_share

MARKS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}


def read_auto_j(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of auto-j's pairwise test set."""
    label = int(need(where, row, "label"))
    if label not in (0, 1, 2):
        raise DataError(f"{where}: label must be 0, 1 or 2, not {label}")
    pair = (need(where, row, "response 1"), need(where, row, "response 2"))
    yield labelled(where, need(where, row, "prompt"), pair, None if label == 2 else label, subset=row.get("scenario"))


def read_hhh(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of the HHH alignment data."""
    subset = row.get("subset") or row.get(KEY) or subset_of(row)
    if "target_scores" in row:
        choices, labels = list(row["target_scores"]), list(row["target_scores"].values())
    else:
        targets = need(where, row, "targets")
        choices, labels = list(targets["choices"]), list(targets["labels"])
    if len(choices) != 2 or sorted(labels) != [0, 1]:
        raise DataError(f"{where}: needs two choices of which one has label 1, found labels {labels}")
    yield labelled(where, _asked(where, need(where, row, "input")), tuple(choices), labels.index(1), subset=subset)


def read_bias(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of EvalBiasBench."""
    subset = row.get("bias") or row.get(KEY)
    pair = (need(where, row, "chosen", "output_1", "response1"), need(where, row, "rejected", "output_2", "response2"))
    winner = 0 if "chosen" in row else int(need(where, row, "label")) - 1
    yield labelled(where, need(where, row, "instruction", "input"), pair, winner, subset=subset)


def micro(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy over all pairs, and by subset."""
    return pair_accuracy(scored, how), _by_subset(scored, how)


def auto_j(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy without ties, by scenario, and the agreement over the three labels."""
    accuracy, parts = micro(scored, how)
    people = [verdicts(item)[0] for item in scored]
    return accuracy, {**parts, "three-way accuracy": three_way_accuracy(scored, people, how)}


def macro(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the subsets' accuracies."""
    parts = _by_subset(scored, how)
    return mean_of(parts), parts


def _asked(where: str, text: str) -> Any:
    """Give the input as turns where it is a marked dialogue, without the mark of the answer that is to come."""
    dialogue = "\n\n" + text.strip().removesuffix("Assistant:").strip()
    if not dialogue.startswith("\n\nHuman:"):
        return text
    try:
        # The dialogue ends with the user; an answer is put there for the check of turns and taken off again.
        turns = split_turns(dialogue + "\n\nAssistant: its answer", MARKS, where, "input")[:-1]
    except DataError:
        return text
    return [turn.to_dict() for turn in turns]


def _by_subset(scored: Sequence[ScoredGroup], how: Resampling) -> dict[str, Estimate]:
    return {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "subset").items())}


AUTO_J = Benchmark(read_auto_j, auto_j, patterns=(r"(^|/)testdata_pairwise\.jsonl$",), rules=IN_PUBLISHED_ORDER)
HHH = Benchmark(read_hhh, micro, patterns=(r"(^|/)task\.json$",), rules=IN_PUBLISHED_ORDER)
EVAL_BIAS_BENCH = Benchmark(read_bias, macro, patterns=(r"biasbench\.json$",))


JUDGE_BENCH_LABELS = {"A>B": 0, "B>A": 1}


def read_judge_bench(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row; all MMLU-Pro subjects are one source."""
    label = need(where, row, "label")
    if label not in JUDGE_BENCH_LABELS:
        raise DataError(f"{where}: label must be 'A>B' or 'B>A', not {label!r}")
    source = str(need(where, row, "source"))
    source = "mmlu-pro" if source.startswith("mmlu-pro") else source
    pair = (need(where, row, "response_A"), need(where, row, "response_B"))
    yield labelled(where, need(where, row, "question"), pair, JUDGE_BENCH_LABELS[label], subset=source)


def summarise_judge_bench(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the micro average; parts are the sources and both averages."""
    sources = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "subset").items())}
    micro = pair_accuracy(scored, how)
    hits = [float((item.rewards[0] > item.rewards[1]) == (item.group.comparisons[0].better == 0)) for item in scored]
    as_b = clustered_share(hits, prompt_clusters(scored))
    return micro, {**sources, "micro": micro, "macro": mean_of(sources), "micro, ties as B>A": as_b}


# A copy of the authors' repository also holds the judgements of every judge, beside the two files of pairs.
JUDGE_BENCH_FILES = (r"(^|/)dataset=judgebench,response_model=[^,/]+\.jsonl$",)
JUDGE_BENCH = Benchmark(read_judge_bench, summarise_judge_bench, "gpt", JUDGE_BENCH_FILES, rules=IN_PUBLISHED_ORDER)


def read_pandalm(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    votes = Counter(int(need(where, row, f"annotator{k}")) for k in (1, 2, 3))
    label, count = votes.most_common(1)[0]
    winner = label - 1 if label in (1, 2) and count >= 2 else None
    pair = (str(need(where, row, "response1")), str(need(where, row, "response2")))
    prompt = "\n".join(filter(None, (need(where, row, "instruction"), row.get("input"))))
    share = None if winner is None else count / votes.total()
    # As a verdict: 1 the first, -1 the second, 0 a tie. The first vote is the most common where all differ.
    verdict = {1: 1, 2: -1}.get(label, 0)
    yield labelled(where, prompt, pair, winner, majority_share=share, verdict=verdict)


def summarise_pandalm(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy; parts are the share of judged ties, which are left out, and the annotators' ceiling."""
    ties = sum(item.group.num_ties for item in scored)
    shares = [share for item in scored if (share := item.group.metadata["majority_share"]) is not None]
    ceiling = clustered_share(shares)
    return pair_accuracy(scored, how), {
        "judged ties": Estimate(ties / len(scored), len(scored)),
        "three-way accuracy": three_way_accuracy(scored, [item.group.metadata["verdict"] for item in scored], how),
        "ceiling: an annotator agrees with the majority": ceiling,
    }


PANDALM = Benchmark(read_pandalm, summarise_pandalm, patterns=(r"(^|/)testset-v1\.json$",), rules=IN_PUBLISHED_ORDER)
