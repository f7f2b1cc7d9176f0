"""Tests of changes and differences: sign flips of whole prompts, corrections for many tests, two means compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import (
    Floats,
    Observations,
    Resampling,
    bca_interval,
    bootstrap_amount,
    resampled_ratios,
)

# With 9,999 flips the smallest p value is 1e-4; over 45 probes that still gives q = 0.0045.
FLIPS = 9_999
CHUNK_CELLS = 2_000_000


def sign_flip_p_values(
    sums_CP: Floats, flips: int = FLIPS, seed: int = 0, sides: Sequence[int] | None = None
) -> list[float]:
    """Give p values of the hypothesis that the changes of each column are symmetric about 0.

    The changes of one prompt are not independent, so the sign of a whole prompt is flipped at once. The observed
    signs count as one of the draws, so no p value is 0 (Phipson and Smyth 2010).

    Args:
        sums_CP: sum of the changes of prompt C under probe P; 0 where a probe does not apply.
        flips: random sign vectors; all columns share them.
        seed: of the generator.
        sides: for each column 0 for a two-sided test, 1 for a test against a rise only, -1 against a fall only; None
            tests all on two sides.

    Example:
        >>> sign_flip_p_values(np.zeros((5, 1)))
        [1.0]
    """
    generator = np.random.default_rng(seed)
    sides_P = np.zeros(sums_CP.shape[1]) if sides is None else np.asarray(sides, dtype=np.float64)
    # Sums of the same numbers in another order differ in their last bits.
    limit = _size(sums_CP.sum(axis=0), sides_P) - 1e-9 * np.abs(sums_CP).sum(axis=0)
    reached = np.zeros(sums_CP.shape[1])
    step = max(1, CHUNK_CELLS // max(1, len(sums_CP)))
    for start in range(0, flips, step):
        rows = min(step, flips - start)
        signs = generator.integers(0, 2, size=(rows, len(sums_CP)), dtype=np.int8) * 2.0 - 1.0
        reached += (_size(signs @ sums_CP, sides_P) >= limit).sum(axis=0)
    return [float(p) for p in (reached + 1) / (flips + 1)]


def _size(sums: Floats, sides_P: Floats) -> Floats:
    """Give how far sums lie on the side that is tested; on both where that is 0."""
    return np.where(sides_P == 0, np.abs(sums), sums * sides_P)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return q values (Benjamini and Hochberg 1995), in the given order; a NaN is no test and stays NaN.

    Example:
        >>> [round(q, 3) for q in benjamini_hochberg([0.01, 0.04, 0.03])]
        [0.03, 0.04, 0.04]
    """
    from scipy.stats import false_discovery_control

    adjusted = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = false_discovery_control(adjusted[known])
    return [float(q) for q in adjusted]


def holm(p_values: Sequence[float]) -> list[float]:
    """Give Holm's adjusted p values (Holm 1979), in the given order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


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
