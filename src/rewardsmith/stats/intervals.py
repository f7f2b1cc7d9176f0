"""Values with intervals that know that judgements of one prompt are not independent.

Shares, such as accuracy, have Wilson's interval with the effective number of trials (`clustered_share`). The rest has a
bootstrap: whole prompts are drawn with replacement and the mean is a ratio of two sums (clusters may hold unequal
numbers of values). Its interval is BCa (Efron 1987), which corrects bias and skew, with normal quantiles widened to
t(C-1) * sqrt(C/(C-1)) for C clusters (Hesterberg 2015, section 5.3), as few clusters make a plain bootstrap too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Estimate

Floats = NDArray[np.float64]
CHUNK_CELLS = 2_000_000
# Drawing a multinomial costs about as much per type as this many index draws.
TYPE_COST = 20
# Of 0.25, 0.5, 1, 2 and 3 the least whose simulated 95% intervals hold the truth in 93.5% or more from 100 clusters on.
ALIKE_CLUSTERS = 0.5


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are computed: number of bootstrap samples and seed."""

    resamples: int = 10_000
    seed: int = 0


@dataclass(slots=True)
class Observations:
    """Values with their clusters; one per metric."""

    values: list[float] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)

    def add(self, value: float, cluster: int) -> None:
        """Keep `value` unless it is undefined."""
        if not math.isnan(value):
            self.values.append(value)
            self.clusters.append(cluster)

    def estimate(self, how: Resampling, is_share: bool = True) -> Estimate:
        """Return the mean with its interval."""
        values, clusters = np.array(self.values), np.array(self.clusters)
        return (
            clustered_share(values, clusters)
            if is_share
            else bootstrap_amount(values, clusters, how.resamples, how.seed)
        )


def bootstrap_mean(
    values: ArrayLike, clusters: ArrayLike | None = None, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Return the mean of `values` with an interval that resamples whole clusters.

    Args:
        values: n finite numbers.
        clusters: n labels (such as prompts); None treats every value as its own cluster.
        resamples: how many bootstrap samples.
        seed: of the generator; the same seed gives the same interval.
        level: coverage.

    Returns:
        The mean and n. No values give NaN; fewer than two clusters give no interval.

    Example:
        >>> bootstrap_mean([1.0, 0.0, 1.0, 1.0]).value
        0.75
    """
    numbers = _as_floats(values)
    return bootstrap_ratio(numbers, np.ones(len(numbers)), clusters, resamples, seed, level=level)


def bootstrap_amount(
    values: ArrayLike, clusters: ArrayLike | None = None, resamples: int = 10_000, seed: int = 0
) -> Estimate:
    """Return the mean of amounts that are no shares, such as margins and differences, as `bootstrap_mean` does.

    Amounts without spread get no interval: Wilson's belongs to shares.

    Example:
        >>> str(bootstrap_amount([0.0, 0.0, 0.0]))
        '0.000 (n=3)'
    """
    numbers = _as_floats(values)
    sums, counts = _cluster_sums(numbers, np.ones(len(numbers)), clusters)
    if len(numbers) and not _has_spread(sums, counts, float(numbers.mean())):
        return Estimate(float(numbers.mean()), len(numbers))
    return bootstrap_mean(numbers, clusters, resamples, seed)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    *,
    level: float = 0.95,
) -> Estimate:
    """Return sum(numerators) / sum(denominators) with a clustered BCa interval; weights are such denominators.

    Raises:
        DataError: values are not finite, lengths differ or a denominator is negative.
    """
    top, bottom = _as_floats(numerators), _as_floats(denominators)
    if len(top) != len(bottom) or (bottom < 0).any():
        raise DataError(f"{len(top)} numerators and {len(bottom)} denominators: give as many, none negative")
    if resamples < 1 or not 0 < level < 1:
        raise ConfigError(f"resamples must be >= 1 and level in (0, 1), not {resamples} and {level}")
    n = len(top)
    if n == 0 or bottom.sum() == 0:
        return Estimate(math.nan, n)
    sums, counts = _cluster_sums(top, bottom, clusters)
    value = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Estimate(value, n)
    if not _has_spread(sums, counts, value):
        return _without_spread(value, n, len(sums), level)
    low, high = _bca(sums, counts, resamples, seed, level)
    return Estimate(value, n, low, high)


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Return a proportion of n independent trials with Wilson's score interval (Wilson 1927).

    Example:
        >>> str(wilson(8, 10))
        '0.800 [0.490, 0.943] (n=10)'
    """
    if n == 0:
        return Estimate(math.nan, 0)
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} trials")
    # The module takes long to load, and most commands never need it.
    from scipy.stats import binomtest

    bound = binomtest(successes, n).proportion_ci(level, method="wilson")
    return Estimate(successes / n, n, float(bound.low), float(bound.high))


def clustered_share(values: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Return the mean of values in [0, 1], such as hits, with Wilson's interval for clustered trials.

    The effective sample size is p (1 - p) / Var with the cluster-robust variance G / (G - 1) * sum over clusters of
    (sum of the deviations from the mean)^2 / n^2 (Cameron and Miller 2015, equation 11), as in Dean and Pagano (2015,
    "Evaluating Confidence Interval Methods for Binomial Proportions in Clustered Surveys"). Quantiles are those of t.
    Few clusters with errors make the variance uncertain, so its degrees of freedom follow Satterthwaite's
    2 G / (kurtosis - 1); four times that, at most G - 1, as Wilson's form makes up for the rest. A few clusters that
    are not all right (or not all wrong) say little about how alike their values are, so n / effective size leans on
    its largest, that of values which are equal within each cluster, with the weight of `ALIKE_CLUSTERS` of those
    clusters: docs/evaluate.md holds the measured coverage. When all values are 0, or all 1, every cluster is one trial.

    Args:
        values: n numbers.
        clusters: n labels, such as keys of prompts; None takes every value as its own cluster.
        level: coverage.

    Returns:
        The mean and n. Fewer than two clusters give no interval, no values NaN.

    Example:
        >>> print(clustered_share([1, 1, 0, 1], [0, 1, 2, 3]))
        0.750 [0.165, 0.979] (n=4)
    """
    numbers = _as_floats(values)
    if not len(numbers):
        return Estimate(math.nan, 0)
    mean = float(numbers.mean())
    sums, counts = _cluster_sums(numbers, np.ones(len(numbers)), clusters)
    deviations, size = sums - mean * counts, len(sums)
    if size < 2:
        return Estimate(mean, len(numbers))
    if not _has_spread(sums, counts, mean):
        return _without_spread(mean, len(numbers), size, level)
    squares = float((deviations**2).sum())
    effect = size * squares / (mean * (1 - mean) * len(numbers) * (size - 1))
    telling = min(np.count_nonzero(sums < counts), np.count_nonzero(sums > 0))
    largest = float((counts**2).sum()) / len(numbers)
    trials = len(numbers) / max(effect, (effect * telling + largest * ALIKE_CLUSTERS) / (telling + ALIKE_CLUSTERS))
    excess = size * float((deviations**4).sum()) / squares**2 - 1
    freedom = min(size - 1.0, max(3.0, 8 * size / max(excess, 1e-12)))
    return Estimate(mean, len(numbers), *_wilson_ends(mean, trials, float(stdtrit(freedom, 0.5 + level / 2))))


def _wilson_ends(share: float, trials: float, z: float) -> tuple[float, float]:
    """Return Wilson's interval for a number of trials that need not be whole, which scipy's does not take."""
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _as_floats(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise DataError(
            f"{int((~np.isfinite(array)).sum())} of {len(array)} values are not finite; mend or remove them"
        )
    return array


def _cluster_sums(top: Floats, bottom: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """Sum numerators and denominators per cluster; clusters without weight do not count."""
    if clusters is None:
        return top[bottom > 0], bottom[bottom > 0]
    index = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if len(index) != len(top):
        raise DataError(f"{len(index)} cluster labels for {len(top)} values")
    sums, counts = np.bincount(index, top).astype(np.float64), np.bincount(index, bottom).astype(np.float64)
    return sums[counts > 0], counts[counts > 0]


def _has_spread(sums: Floats, counts: Floats, value: float) -> bool:
    return bool(np.ptp(sums - value * counts) >= 1e-12 * max(1.0, float(np.abs(sums).max())))


def _without_spread(value: float, n: int, clusters: int, level: float) -> Estimate:
    """All clusters agree: a bootstrap would claim certainty. A share of 0 or 1 gets Wilson's interval over clusters."""
    if value in (0.0, 1.0):
        return Estimate(value, n, *_ends_of_share(value, clusters, level))
    return Estimate(value, n)


def _ends_of_share(value: float, clusters: int, level: float) -> tuple[float, float]:
    """Return Wilson's interval over clusters of a share that is 0 or 1 in all of them."""
    bound = wilson(round(value * clusters), clusters, level)
    return bound.low, bound.high


def _bca(sums: Floats, counts: Floats, resamples: int, seed: int, level: float) -> tuple[float, float]:
    """Return the ends of the BCa interval with widened quantiles."""
    value = float(sums.sum() / counts.sum())
    draws = resampled_ratios(sums, counts, resamples, seed)
    return bca_interval(value, draws, _leave_one_out(sums, counts), level)


def bca_interval(value: float, draws: Floats, leave_one_out: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the BCa interval of any statistic with the quantiles widened for few clusters.

    Args:
        value: the statistic of the data.
        draws: the statistic of each bootstrap sample; where some are infinite, an end can be, too.
        leave_one_out: the statistic without each of the C clusters in turn.
        level: coverage.
    """
    below = (np.count_nonzero(draws < value) + 0.5 * np.count_nonzero(draws == value)) / len(draws)
    bias = float(ndtri(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws))))
    influence = value - leave_one_out
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    size = len(leave_one_out)
    edge = float(stdtrit(size - 1, 0.5 + level / 2)) * math.sqrt(size / (size - 1))
    shares = []
    for z in (bias - edge, bias + edge):
        shares.append(float(ndtr(bias + z / max(1e-9, 1 - acceleration * z))))
    # Between infinities there is nothing to interpolate.
    low, high = np.quantile(draws, shares, method="linear" if np.isfinite(draws).all() else "inverted_cdf")
    return float(min(low, value)), float(max(high, value))


def p_value_of_zero(value: float, draws: Floats, leave_one_out: Floats) -> float:
    """Return the two-sided p value of the hypothesis that a statistic is 0: 1 less the widest level that excludes it.

    It is found with `bca_interval` itself, so p < 0.05 exactly where the 95% interval excludes 0. It is not below
    1 / the number of draws.
    """

    def excludes(level: float) -> bool:
        low, high = bca_interval(value, draws, leave_one_out, level)
        return low > 0 or high < 0

    low, high = 0.0, 1 - 1 / len(draws)
    if value == 0 or not excludes(1e-9):
        return 1.0
    if excludes(high):
        return 1 / len(draws)
    # Levels are tried around the usual one first, so that rounding cannot part the two.
    for level in (0.95, *[math.nan] * 40):
        middle = (low + high) / 2 if math.isnan(level) else level
        low, high = (middle, high) if excludes(middle) else (low, middle)
    return 1 - low


def bootstrap_test(values: ArrayLike, clusters: ArrayLike, how: Resampling) -> tuple[Estimate, float]:
    """Return the mean of differences as `bootstrap_amount` does, and the p value of 0 that agrees with its interval.

    Without spread p is NaN, as the interval is.
    """
    numbers = _as_floats(values)
    estimate = bootstrap_amount(numbers, clusters, how.resamples, how.seed)
    if math.isnan(estimate.low):
        return estimate, math.nan
    sums, counts = _cluster_sums(numbers, np.ones(len(numbers)), clusters)
    draws = resampled_ratios(sums, counts, how.resamples, how.seed)
    return estimate, p_value_of_zero(estimate.value, draws, _leave_one_out(sums, counts))


def _leave_one_out(sums: Floats, counts: Floats) -> Floats:
    rest = counts.sum() - counts
    whole = float(sums.sum() / counts.sum())
    means: Floats = np.where(rest > 0, (sums.sum() - sums) / np.where(rest > 0, rest, 1.0), whole)
    return means


def resampled_ratios(sums: Floats, counts: Floats, resamples: int, seed: int) -> Floats:
    """Return `resamples` bootstrap ratios of C clusters in memory that does not grow with `resamples`.

    Clusters with equal sums are one type; when there are few types (accuracy has), how often each is drawn comes from
    one multinomial, which has exactly the distribution of drawing clusters one by one.
    """
    generator = np.random.default_rng(seed)
    size = len(sums)
    types, frequency = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    by_type = len(types) * TYPE_COST <= size or len(types) <= 8
    step = max(1, CHUNK_CELLS // (len(types) if by_type else size))
    parts = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        if by_type:
            totals = generator.multinomial(size, frequency / size, size=rows) @ types
            parts.append(totals[:, 0] / totals[:, 1])
        else:
            drawn = generator.integers(0, size, size=(rows, size), dtype=np.int32)
            parts.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(parts)


def paired_difference(a: Observations, b: Observations, how: Resampling) -> Estimate:
    """Return mean(a) - mean(b) over the same judgements in the same order, with a paired interval."""
    values = np.array(a.values) - np.array(b.values)
    return bootstrap_amount(values, np.array(a.clusters), how.resamples, how.seed)
