"""ProcessBench (Zheng et al. 2024, arXiv 2412.06559): find the first wrong step, or say that there is none.

Rows `problem, steps, label` with the index of the first error, -1 for none. Every prefix of the steps is one completion
and its reward is the step's; the first step whose reward is below the threshold 0 (probability 1/2 of a logit) is the
prediction. The score is F1: the harmonic mean of the accuracies on wrong and on right solutions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.evaluation.benchmarks.result import Benchmark, need
from rewardsmith.evaluation.estimates import bootstrap_mean
from rewardsmith.evaluation.metrics import Resampling
from rewardsmith.evaluation.scored import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup, as_text

THRESHOLD = 0.0


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one solution as a group of its prefixes."""
    steps = list(need(where, row, "steps"))
    prefixes = tuple("\n\n".join(steps[: k + 1]) for k in range(len(steps)))
    prompt = as_text(need(where, row, "problem"), where)
    yield PreferenceGroup(prompt, prefixes, group_id=where, metadata={"first_error": int(need(where, row, "label"))})


def first_error(rewards: Sequence[float], threshold: float = THRESHOLD) -> int:
    """Give the index of the first reward below `threshold`, or -1."""
    return next((index for index, reward in enumerate(rewards) if reward < threshold), -1)


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give F1, and the accuracies on wrong and on right solutions."""
    hits: dict[bool, list[float]] = {True: [], False: []}
    for item in scored:
        label = item.group.metadata["first_error"]
        hits[label >= 0].append(float(first_error(item.rewards) == label))
    wrong, right = (bootstrap_mean(hits[kind], None, how.resamples, how.seed) for kind in (True, False))
    total = wrong.value + right.value
    f1 = 0.0 if total == 0 else 2 * wrong.value * right.value / total
    defined = not (math.isnan(wrong.value) or math.isnan(right.value))
    return Estimate(f1 if defined else math.nan, len(scored)), {"wrong": wrong, "right": right}


BENCHMARK = Benchmark(read, summarise)
