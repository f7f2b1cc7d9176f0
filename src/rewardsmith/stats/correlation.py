"""Correlations of two numbers a text, with intervals that draw whole prompts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, Resampling, bca_interval

# Every sample ranks anew; more of them would move the ends by less than they are shown with.
MOST_RESAMPLES = 500


def pearson(x: Floats, y: Floats) -> float:
    """Return Pearson's correlation; NaN where one of the two does not vary."""
    return float(np.corrcoef(x, y)[0, 1]) if _vary(x, y) else math.nan


def spearman(x: Floats, y: Floats) -> float:
    """Return the correlation of ranks, equal values sharing their mean rank; NaN where one does not vary."""
    return pearson(stats.rankdata(x), stats.rankdata(y)) if _vary(x, y) else math.nan


def kendall(x: Floats, y: Floats) -> float:
    """Return Kendall's tau-b; NaN where one does not vary."""
    return float(stats.kendalltau(x, y).statistic) if _vary(x, y) else math.nan


CORRELATIONS: dict[str, Callable[[Floats, Floats], float]] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
}


def _vary(x: Floats, y: Floats) -> bool:
    return len(x) > 1 and bool(np.ptp(x)) and bool(np.ptp(y))


def correlate(
    x: ArrayLike, y: ArrayLike, clusters: ArrayLike, name: str = "pearson", how: Resampling | None = None
) -> Estimate:
    """Return one of CORRELATIONS with its BCa interval over whole clusters.

    No interval is given where a sample does not vary, or there are fewer than three clusters.

    Example:
        >>> correlate([1, 2, 3], [2, 4, 7], [0, 1, 2], "kendall").value
        1.0
    """
    how, statistic = how or Resampling(), CORRELATIONS[name]
    one, two = (np.asarray(values, dtype=np.float64) for values in (x, y))
    value = statistic(one, two)
    _, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    size = int(numbers.max(initial=-1)) + 1
    if math.isnan(value) or size < 3:
        return Estimate(value, len(one))
    order = np.argsort(numbers, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(numbers, minlength=size))[:-1])
    generator = np.random.default_rng(how.seed)
    draws = [
        np.concatenate([rows[k] for k in generator.integers(0, size, size)])
        for _ in range(min(how.resamples, MOST_RESAMPLES))
    ]
    drawn = np.array([statistic(one[kept], two[kept]) for kept in draws])
    without = np.array([statistic(one[numbers != k], two[numbers != k]) for k in range(size)])
    if np.isnan(drawn).any() or np.isnan(without).any() or np.ptp(drawn) == 0:
        return Estimate(value, len(one))
    return Estimate(value, len(one), *bca_interval(value, drawn, without))
