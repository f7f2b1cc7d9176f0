"""Benchmarks whose rule is strict accuracy, overall and by subset; they differ in layout only.

auto-j (Li et al. 2023, arXiv 2310.05470): `prompt, response 1, response 2, label` with 0 first, 1 second, 2 tie (left
out).
HHH (Askell et al. 2021, arXiv 2112.00861): `input, targets: {choices, labels}`, label 1 marks the better of two.
EvalBiasBench (Park et al. 2024, arXiv 2407.06551): an object of bias name to rows `instruction, chosen/rejected or
output_1/output_2, label`;
the score is the mean over the biases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.evaluation.benchmarks.result import Benchmark, by, labelled, mean_of, need, pair_accuracy
from rewardsmith.evaluation.metrics import Resampling
from rewardsmith.evaluation.scored import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup


def read_auto_j(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of auto-j's pairwise test set."""
    label = int(need(where, row, "label"))
    pair = (need(where, row, "response 1"), need(where, row, "response 2"))
    yield labelled(where, need(where, row, "prompt"), pair, None if label == 2 else label, subset=row.get("scenario"))


def read_hhh(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of the HHH alignment data."""
    targets = need(where, row, "targets")
    subset = row.get("subset") or row.get("_key")
    winner = list(targets["labels"]).index(1)
    yield labelled(where, need(where, row, "input"), tuple(targets["choices"]), winner, subset=subset)


def read_bias(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of EvalBiasBench."""
    subset = row.get("bias") or row.get("_key")
    pair = (need(where, row, "chosen", "output_1", "response1"), need(where, row, "rejected", "output_2", "response2"))
    winner = 0 if "chosen" in row else int(need(where, row, "label")) - 1
    yield labelled(where, need(where, row, "instruction", "input"), pair, winner, subset=subset)


def micro(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy over all pairs, and by subset."""
    return pair_accuracy(scored, how), _by_subset(scored, how)


def macro(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the subsets' accuracies."""
    parts = _by_subset(scored, how)
    return mean_of(parts), parts


def _by_subset(scored: Sequence[ScoredGroup], how: Resampling) -> dict[str, Estimate]:
    return {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "subset").items())}


AUTO_J = Benchmark(read_auto_j, micro)
HHH = Benchmark(read_hhh, micro)
EVAL_BIAS_BENCH = Benchmark(read_bias, macro)
