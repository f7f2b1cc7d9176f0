"""Benchmarks whose rule is strict accuracy, overall and by subset; they differ in layout only.

auto-j (Li et al. 2023, arXiv 2310.05470): `scenario, label, prompt, response 1, response 2`, label 0 first, 1 second, 2
tie (left out). The authors' agreement of judges, over the three labels of all rows, is a part.
HHH (Askell et al. 2021, arXiv 2112.00861): `input, targets: {choices, labels}` or BIG-bench's `input, target_scores`,
label 1 marking the better of two; the folder or hub configuration is the subset. "\\n\\nHuman:" turns in the input are
read as a conversation.
EvalBiasBench (Park et al. 2024, arXiv 2407.06551): an object of bias name to rows `instruction, chosen/rejected or
output_1/output_2, label`; the score is the mean over the biases.
"""

from __future__ import annotations

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
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling

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
