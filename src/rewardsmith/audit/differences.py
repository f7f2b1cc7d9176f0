"""The difference of two accuracies: on the same judgements, or on two sets that share none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import margins, prompt_clusters
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Observations, Resampling, bca_interval, bootstrap_amount, resampled_ratios


def accuracy_observations(scored: Sequence[ScoredGroup]) -> Observations:
    """Give one value per judgement that prefers a side (1 right, 0.5 equal rewards, 0 wrong), clustered by prompt."""
    found = Observations()
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for margin in margins(item):
            found.add(0.5 if margin == 0 else float(margin > 0), cluster)
    return found


def paired_difference(a: Observations, b: Observations, how: Resampling) -> Estimate:
    """Give mean(a) - mean(b) over the same judgements in the same order, with a paired interval."""
    values = np.array(a.values) - np.array(b.values)
    return bootstrap_amount(values, np.array(a.clusters), how.resamples, how.seed)


def unpaired_difference(a: Observations, b: Observations, how: Resampling) -> Estimate:
    """Give mean(a) - mean(b) of two sets of different prompts; NaN where one is empty, n counts both."""
    n = len(a.values) + len(b.values)
    if not a.values or not b.values:
        return Estimate(math.nan, n)
    sides = [_sums(side) for side in (a, b)]
    means = [sums.sum() / counts.sum() for sums, counts in sides]
    value = float(means[0] - means[1])
    if min(len(sums) for sums, _ in sides) < 2:
        return Estimate(value, n)
    draws = [resampled_ratios(*side, how.resamples, how.seed + place) for place, side in enumerate(sides)]
    without = [(sums.sum() - sums) / np.maximum(counts.sum() - counts, 1e-300) for sums, counts in sides]
    leave_one_out = np.concatenate([without[0] - means[1], means[0] - without[1]])
    if np.ptp(leave_one_out) < 1e-15:
        return Estimate(value, n)
    return Estimate(value, n, *bca_interval(value, draws[0] - draws[1], leave_one_out))


def _sums(side: Observations) -> tuple[np.ndarray, np.ndarray]:
    index = np.unique(np.array(side.clusters), return_inverse=True)[1]
    return np.bincount(index, side.values).astype(np.float64), np.bincount(index).astype(np.float64)
