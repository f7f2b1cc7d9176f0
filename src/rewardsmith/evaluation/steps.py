"""Judged steps of solutions: accuracy, area under the curve, and finding the first wrong step, each with its interval.

The first-error score is ProcessBench's (Zheng et al. 2024, arXiv 2412.06559): a solution whose first step below the
threshold is its first wrong step, or none where none is, is found; F1 is the harmonic mean of the shares found among
wrong and among right solutions. A baseline that calls every step right finds all right solutions and no wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.formats.format import STEP_LABELS
from rewardsmith.errors import DataError
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Floats, Resampling, bca_interval, clustered_share

# Of a probability; scorers that give log odds have theirs at 0.
THRESHOLD = 0.5
Flags = NDArray[np.bool_]
ALL_RIGHT, ALL_WRONG = "every step is right", "every step is wrong"
HOW = Resampling(500)


@dataclass(frozen=True, slots=True)
class JudgedSolution:
    """A solution whose steps were judged.

    Args:
        scores: of each step, its probability of being right.
        labels: probability that the step is right, 1 or 0 of a plain judgement; None where nobody judged.
        cluster: of the question, so that solutions of one are not taken for independent.
    """

    scores: tuple[float, ...]
    labels: tuple[float | None, ...]
    cluster: int = 0

    def first_error(self) -> int | None:
        """Return the first wrong step, -1 where every step is right, None where the labels do not say."""
        for place, label in enumerate(self.labels):
            if label is None or label == 0.5:
                return None
            if label < 0.5:
                return place
        return -1


def refuse_steps(groups: Sequence[PreferenceGroup], data: str) -> None:
    """Refuse rows that compare no answers where they judge steps. Raises DataError."""
    if not any(STEP_LABELS in group.metadata for group in groups):
        return
    raise DataError(
        f"{data}: the rows judge steps and compare no answers; `rewardsmith train --loss_type steps "
        "--eval_dataset_name DATA` measures them, and `evaluate --benchmark process-bench` files in ProcessBench's form"
    )


def first_below(scores: Sequence[float], threshold: float) -> int:
    """Return the index of the first score below `threshold`, or -1."""
    return next((index for index, score in enumerate(scores) if score < threshold), -1)


@dataclass(frozen=True)
class StepResult:
    """What was measured on judged steps.

    Args:
        accuracy: share of steps whose label is met.
        balanced_accuracy: mean of the shares among right and among wrong steps.
        auroc: chance that a right step has a higher score than a wrong one.
        f1, found_wrong, found_right: of first errors, and the shares found among wrong and right solutions.
        baselines: accuracy of rules that read nothing.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    auroc: Estimate
    f1: Estimate
    found_wrong: Estimate
    found_right: Estimate
    baselines: dict[str, Estimate] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Return the values by the names that a trainer logs, with the ends of the intervals."""
        found: dict[str, float] = {}
        for name in ("accuracy", "balanced_accuracy", "auroc", "f1", "found_wrong", "found_right"):
            estimate: Estimate = getattr(self, name)
            found[name] = float(estimate.value)
            if not math.isnan(estimate.low):
                found |= {f"{name}_low": float(estimate.low), f"{name}_high": float(estimate.high)}
        return found

    def best_baseline(self) -> str:
        """Return the name of the better rule."""
        return max(self.baselines, key=lambda name: self.baselines[name].value)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        names = ("accuracy", "balanced_accuracy", "auroc", "f1", "found_wrong", "found_right")
        baselines = {name: estimate.to_dict() for name, estimate in self.baselines.items()}
        return {**{name: getattr(self, name).to_dict() for name in names}, "baselines": baselines}


def measure_steps(solutions: Sequence[JudgedSolution], how: Resampling = HOW) -> StepResult:
    """Measure scores of steps against their labels; labels of 1/2 say nothing about right or wrong."""
    decided = [
        (score, label > 0.5, solution.cluster)
        for solution in solutions
        for score, label in zip(solution.scores, solution.labels, strict=True)
        if label is not None and label != 0.5
    ]
    scores = np.array([score for score, _, _ in decided], dtype=np.float64)
    right = np.array([label for _, label, _ in decided], dtype=bool)
    clusters = np.array([cluster for _, _, cluster in decided], dtype=np.int64)
    # As in TRL: a step is called right where its probability is above 1/2.
    hits = (scores > THRESHOLD) == right
    found = {True: [], False: []}  # type: dict[bool, list[tuple[float, int]]]
    for solution in solutions:
        label = solution.first_error()
        if label is not None:
            hit = float(first_below(solution.scores, THRESHOLD) == label)
            found[label >= 0].append((hit, solution.cluster))
    f1, wrong, right_found = first_error_score(found[True], found[False], how)
    shares = [hits[right].mean() if right.any() else math.nan, hits[~right].mean() if (~right).any() else math.nan]
    weights, area = _Weights(clusters, how), _area_of(scores, right)
    return StepResult(
        accuracy=clustered_share(hits, clusters),
        balanced_accuracy=weights.estimate(float(np.mean(shares)), lambda w: _balanced(hits, right, w)),
        auroc=weights.estimate(area(np.ones(len(scores))), area),
        f1=f1,
        found_wrong=wrong,
        found_right=right_found,
        baselines={
            ALL_RIGHT: clustered_share(right, clusters),
            "every step is wrong": clustered_share(~right, clusters),
        },
    )


def first_error_score(
    wrong: Sequence[tuple[float, int]], right: Sequence[tuple[float, int]], how: Resampling
) -> tuple[Estimate, Estimate, Estimate]:
    """Return F1 and the shares found among wrong and right solutions, given as (found, cluster)."""
    rows = [(hit, cluster, is_wrong) for is_wrong, part in ((True, wrong), (False, right)) for hit, cluster in part]
    hits = np.array([hit for hit, _, _ in rows], dtype=np.float64)
    clusters = np.array([cluster for _, cluster, _ in rows], dtype=np.int64)
    is_wrong = np.array([flag for _, _, flag in rows], dtype=bool)
    shares = [clustered_share([hit for hit, _ in part], [c for _, c in part]) for part in (wrong, right)]
    value = _harmonic(*(share.value for share in shares))

    def draw(weights: Floats) -> float:
        return _harmonic(*(_share(hits, weights * part) for part in (is_wrong, ~is_wrong)))

    return _Weights(clusters, how).estimate(value, draw), shares[0], shares[1]


def _harmonic(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return math.nan
    return 0.0 if a + b == 0 else 2 * a * b / (a + b)


def _share(hits: Floats | Flags, weights: Floats) -> float:
    total = float(weights.sum())
    return float((hits * weights).sum()) / total if total else math.nan


def _balanced(hits: Flags, right: Flags, weights: Floats) -> float:
    return (_share(hits, weights * right) + _share(hits, weights * ~right)) / 2


def _area_of(scores: Floats, right: Flags) -> Callable[[Floats], float]:
    """Return the area under the curve as a function of the rows' weights; equal scores are half."""
    values, place = np.unique(scores, return_inverse=True)

    def area(weights: Floats) -> float:
        good = np.bincount(place, weights * right, len(values))
        bad = np.bincount(place, weights * ~right, len(values))
        below = np.cumsum(bad) - bad
        pairs = good.sum() * bad.sum()
        return float((good * (below + bad / 2)).sum() / pairs) if pairs else math.nan

    return area


@dataclass(frozen=True)
class _Weights:
    """Intervals of any statistic of weighted rows: whole clusters are drawn again, BCa (`stats.intervals`)."""

    clusters: NDArray[np.int64]
    how: Resampling

    def estimate(self, value: float, statistic: Callable[[Floats], float]) -> Estimate:
        """Return the value with its interval; without one where draws are not all defined, or never differ."""
        size, index = len(self.clusters), np.unique(self.clusters, return_inverse=True)[1]
        count = int(index.max(initial=-1)) + 1
        if math.isnan(value) or count < 2:
            return Estimate(value, size)
        generator = np.random.default_rng(self.how.seed)
        even = np.full(count, 1 / count)
        draws = np.array(
            [statistic(generator.multinomial(count, even)[index].astype(np.float64)) for _ in range(self.how.resamples)]
        )
        # Jackknife over at most so many blocks of clusters: its cost grows with their number.
        blocks = np.arange(count) * min(count, 200) // count
        left = np.array([statistic((blocks[index] != block).astype(np.float64)) for block in range(blocks[-1] + 1)])
        draws, left = draws[~np.isnan(draws)], left[~np.isnan(left)]
        if len(draws) < self.how.resamples / 2 or np.ptp(draws) == 0 or len(left) < 2:
            return Estimate(value, size)
        return Estimate(value, size, *bca_interval(value, draws, left))
