"""Intervals of statistics that are functions of sums, such as correlations and slopes, by one clustered bootstrap.

Every observation gives a row of numbers; rows are summed per prompt. A bootstrap sample of prompts is then a vector of
totals, and a statistic is computed for all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, Resampling, bca_interval, wilson

CHUNK_CELLS = 2_000_000
MIN_KNOWN = 0.95
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
        """Give each statistic with its interval; all share the bootstrap samples."""
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
    """Give the totals of `how.resamples` draws of C clusters. Shapes: [C, M] -> [R, M]."""
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
    """Give the interval, where the statistic is defined in nearly all samples and not the same in all."""
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
