"""Whether a difference is more than chance: sign flips, permutations, and sums of clusters for what pairs share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import (
    Floats,
    Observations,
    Resampling,
    bca_interval,
    resampled_ratios,
    wilson,
)

# With 9,999 flips the smallest p value is 1e-4; over 45 probes that still gives q = 0.0045.
FLIPS = 9_999
CHUNK_CELLS = 2_000_000


def sign_flip_p_values(
    sums_CP: Floats, flips: int = FLIPS, seed: int = 0, sides: Sequence[int] | None = None
) -> list[float]:
    """Return p values of the hypothesis that the changes of each column are symmetric about 0.

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
    """Return how far sums lie on the side that is tested; on both where that is 0."""
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
    """Return Holm's adjusted p values (Holm 1979), in the given order.

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


def unpaired_difference(a: Observations, b: Observations, how: Resampling) -> Estimate:
    """Return mean(a) - mean(b) of two sets of different prompts; NaN where one is empty, n counts both."""
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


MIN_KNOWN = 0.95
# Keeps perfectly separated judgements from growing without end; a prior of less than one pair.
RIDGE = 1e-3
NEWTON_STEPS = 50
Totals = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Statistic:
    """A function of totals, with the number of observations it rests on; `is_share` says that it lies in [0, 1]."""

    function: Callable[[Totals], Floats]
    n: int
    is_share: bool = False


class ClusteredSums:
    """Named sums per cluster, filled table by table.

    Args:
        num_clusters: C.
    """

    def __init__(self, num_clusters: int) -> None:
        self.num_clusters = num_clusters
        self.columns: dict[str, Floats] = {}

    def add(self, clusters: Floats, **values: Floats) -> None:
        """Sum each of `values` (one number per observation) within its cluster."""
        index = np.asarray(clusters, dtype=np.int64)
        for name, column in values.items():
            weights = np.asarray(column, dtype=np.float64)
            self.columns[name] = np.bincount(index, weights, minlength=self.num_clusters).astype(np.float64)

    def estimate(self, statistics: Mapping[str, Statistic], how: Resampling) -> dict[str, Estimate]:
        """Return each statistic with its interval; all share the bootstrap samples."""
        names = list(self.columns)
        sums_CM = np.stack([self.columns[name] for name in names], axis=1)
        total_M = sums_CM.sum(axis=0)
        draws_RM = resample_totals(sums_CM, how)
        found = {}
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for name, statistic in statistics.items():
                tables = [total_M[None], draws_RM, total_M - sums_CM]
                value, draws, rest = (statistic.function(_named(table, names)) for table in tables)
                found[name] = _estimate(float(value[0]), draws, rest, statistic)
        return found


def resample_totals(sums_CM: Floats, how: Resampling) -> Floats:
    """Return the totals of `how.resamples` draws of C clusters. Shapes: [C, M] -> [R, M]."""
    generator = np.random.default_rng(how.seed)
    size = len(sums_CM)
    step = max(1, CHUNK_CELLS // size)
    parts = []
    for start in range(0, how.resamples, step):
        rows = min(step, how.resamples - start)
        drawn = generator.integers(0, size, size=(rows, size)) + np.arange(rows)[:, None] * size
        parts.append(np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size) @ sums_CM)
    return np.concatenate(parts)


def _named(table: Floats, names: list[str]) -> Totals:
    return {name: table[:, index] for index, name in enumerate(names)}


def _estimate(value: float, draws: Floats, rest: Floats, statistic: Statistic) -> Estimate:
    """Return the interval, where the statistic is defined in nearly all samples and not the same in all."""
    if not math.isfinite(value):
        return Estimate(math.nan, statistic.n)
    known = np.isfinite(draws)
    draws, rest = draws[known], rest[np.isfinite(rest)]
    # A statistic that often cannot be computed has no honest interval.
    if len(rest) < 2 or known.mean() < MIN_KNOWN:
        return Estimate(value, statistic.n)
    if np.ptp(draws) <= 1e-12 * max(1.0, abs(value)):
        if statistic.is_share and value in (0.0, 1.0):
            bound = wilson(round(value * min(len(rest), statistic.n)), min(len(rest), statistic.n))
            return Estimate(value, statistic.n, bound.low, bound.high)
        return Estimate(value, statistic.n)
    return Estimate(value, statistic.n, *bca_interval(value, draws, rest))


@dataclass(frozen=True, slots=True)
class LogisticScale:
    """What turns standardised coefficients back into reward units.

    Args:
        reward: root mean square of reward differences; `length` of length differences.
        linear: coefficients of (reward, length); `bent` of (reward, tanh of length).
        slope: reward difference per unit of the bent length.
    """

    reward: float
    length: float
    linear: tuple[float, float]
    bent: tuple[float, float]
    slope: float


def add_logistics(sums: ClusteredSums, pairs: Floats) -> LogisticScale:
    """Fit both logistics and add what their one-step refits need. Pairs: cluster, margin, lengths of both sides."""
    cluster, gap = pairs[:, 0], pairs[:, 2] - pairs[:, 3]
    scale_r, scale_l = (float(np.sqrt((c**2).mean())) if len(c) and c.any() else 1.0 for c in (pairs[:, 1], gap))
    reward, length = pairs[:, 1] / scale_r, gap / scale_l
    bent_length = np.tanh(length)
    linear = _add_fit(sums, "lin", cluster, np.stack([reward, length], axis=1))
    bent = _add_fit(sums, "bent", cluster, np.stack([reward, bent_length], axis=1))
    sums.add(cluster, t_rt=reward * bent_length, t_tt=bent_length**2)
    squares = float((bent_length**2).sum())
    slope = float((reward * bent_length).sum()) / squares if squares > 0 else 0.0
    rest = reward - slope * bent_length
    chance = expit(bent[0] * np.abs(rest))
    steep = chance * (1 - chance)
    sums.add(cluster, c=chance, c_beta=steep * np.abs(rest), c_slope=-steep * bent[0] * np.sign(rest) * bent_length)
    return LogisticScale(scale_r, scale_l, linear, bent, slope)


def logistic_statistics(scale: LogisticScale, n: int) -> dict[str, Statistic]:
    """Return the excess weight, the coefficient of the reward, and the length-controlled accuracy."""
    unit = scale.reward / scale.length

    def excess(totals: Totals) -> Floats:
        beta, gamma = _refit(totals, "lin", scale.linear)
        return -gamma / beta * unit

    def controlled(totals: Totals) -> Floats:
        beta, _ = _refit(totals, "bent", scale.bent)
        slope = np.where(totals["t_tt"] > 0, totals["t_rt"] / totals["t_tt"], 0.0)
        shift = (beta - scale.bent[0]) * totals["c_beta"] + (slope - scale.slope) * totals["c_slope"]
        return (totals["c"] + shift) / totals["n_all"]

    return {
        "excess_weight": Statistic(excess, n),
        "reward_coefficient": Statistic(lambda totals: _refit(totals, "lin", scale.linear)[0] / scale.reward, n),
        "length_controlled_accuracy": Statistic(controlled, n),
    }


def _add_fit(sums: ClusteredSums, name: str, cluster: Floats, x_P2: Floats) -> tuple[float, float]:
    """Maximise the mean of log sigmoid(x . theta) and add gradient and curvature at the maximum."""
    theta = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        wrong = expit(-(x_P2 @ theta))
        gradient = x_P2.T @ wrong - RIDGE * theta
        curvature = (x_P2 * (wrong * (1 - wrong))[:, None]).T @ x_P2 + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # A long step overshoots where the curvature is flat.
        theta = theta + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-9:
            break
    wrong = expit(-(x_P2 @ theta))
    weight = wrong * (1 - wrong)
    first, second = x_P2[:, 0], x_P2[:, 1]
    columns = {"g0": wrong * first, "g1": wrong * second}
    columns |= {"h00": weight * first**2, "h01": weight * first * second, "h11": weight * second**2}
    sums.add(cluster, **{f"{name}_{key}": column for key, column in columns.items()})
    return float(theta[0]), float(theta[1])


def _refit(totals: Totals, name: str, theta: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the coefficients after one Newton step from `theta` on each sample."""
    g0, g1 = totals[f"{name}_g0"] - RIDGE * theta[0], totals[f"{name}_g1"] - RIDGE * theta[1]
    h00, h01, h11 = totals[f"{name}_h00"] + RIDGE, totals[f"{name}_h01"], totals[f"{name}_h11"] + RIDGE
    determinant = h00 * h11 - h01**2
    return theta[0] + (h11 * g0 - h01 * g1) / determinant, theta[1] + (h00 * g1 - h01 * g0) / determinant
