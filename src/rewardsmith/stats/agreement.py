"""How far raters agree beyond chance: Krippendorff's alpha and Cohen's kappa."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")


def count_ratings(ratings: object) -> tuple[Floats, Floats]:
    """Turn a table of raters x units (NaN where a rater did not rate) into counts of units x values, and the values.

    Shapes: ratings [raters, units]; counts [units, values]; values [values], ascending.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise DataError(f"ratings must be a table of raters x units, not of {table.ndim} dimensions")
    values = np.unique(table[~np.isnan(table)])
    return (table[:, :, None] == values).sum(axis=0).astype(np.float64), values


def krippendorff_alpha(
    counts: ArrayLike, values: Sequence[float] | Floats, level: Level = "nominal", resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return Krippendorff's alpha with a 95% percentile interval that resamples units.

    alpha = 1 - D_o / D_e over the coincidences of units with two or more ratings (Krippendorff, "Computing
    Krippendorff's Alpha-Reliability", 2011). 1 is perfect agreement, 0 that of chance. The bootstrap draws whole
    units; Krippendorff's own draws single disagreements and is narrower.

    Args:
        counts: how often each unit got each value; see `count_ratings`.
        values: the values, ascending; their order and distances matter for "ordinal" and "interval".
        level: of measurement.
        resamples: bootstrap samples; 0 for no interval.

    Returns:
        alpha with n, the units with two or more ratings. NaN when there are none, or when all ratings are equal
        (nothing varies, so agreement beyond chance is undefined).

    Example:
        >>> counts, values = count_ratings([[1, 2, 1, 2], [1, 2, 1, 1]])
        >>> round(krippendorff_alpha(counts, values, resamples=0).value, 3)
        0.533
    """
    if level not in LEVELS:
        raise ConfigError(f"level must be nominal, ordinal or interval, not {level!r}")
    table = np.asarray(counts, dtype=np.float64)
    table = table[table.sum(axis=1) >= 2]
    numbers = np.asarray(values, dtype=np.float64)
    n = len(table)
    if not n:
        return Estimate(math.nan, 0)
    types, frequency = np.unique(table, axis=0, return_counts=True)
    alpha = float(_alpha(types, frequency[None, :].astype(np.float64), numbers, level)[0])
    if n < 2 or not resamples or math.isnan(alpha):
        return Estimate(alpha, n)
    draws = np.random.default_rng(seed).multinomial(n, frequency / n, size=resamples).astype(np.float64)
    drawn = _alpha(types, draws, numbers, level)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Estimate(alpha, n)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(alpha, n, float(low), float(high))


def _alpha(types: Floats, weights: Floats, values: Floats, level: Level) -> Floats:
    """Return alpha for each row of weights over types of units."""
    sizes = types.sum(axis=1)
    totals = weights @ types  # [resamples, values]
    n = totals.sum(axis=1)
    if level == "ordinal":
        # The distance of two ordinal values rests on how many ratings lie between, so each resample has its own.
        return np.array([_one_alpha(types, sizes, row, _ordinal(total)) for row, total in zip(weights, totals)])  # noqa: B905
    distance = (values[:, None] != values[None, :]).astype(np.float64)
    if level == "interval":
        distance = (values[:, None] - values[None, :]) ** 2
    within = np.einsum("uv,vw,uw->u", types, distance, types) / (sizes - 1)
    observed = weights @ within / n
    expected = np.einsum("rv,vw,rw->r", totals, distance, totals) / (n * (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), np.nan)


def _one_alpha(types: Floats, sizes: Floats, weights: Floats, distance: Floats) -> float:
    totals = weights @ types
    n = totals.sum()
    observed = weights @ (np.einsum("uv,vw,uw->u", types, distance, types) / (sizes - 1)) / n
    expected = totals @ distance @ totals / (n * (n - 1))
    return float(1 - observed / expected) if expected > 0 else math.nan


def _ordinal(totals: Floats) -> Floats:
    """Return the squared ordinal distances: the ratings between two values, half of each end's included."""
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle[None, :]) ** 2


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> Estimate:
    """Return Cohen's kappa of two sides' labels and the number of pairs; NaN without pairs or where no side varies.

    Example:
        >>> cohen_kappa([("a", "a"), ("b", "b"), ("a", "b"), ("b", "b")]).value
        0.5
    """
    if not pairs:
        return Estimate(math.nan, 0)
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    ones, others = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(count * others[label] for label, count in ones.items()) / n**2
    return Estimate((observed - chance) / (1 - chance) if chance < 1 else math.nan, n)
