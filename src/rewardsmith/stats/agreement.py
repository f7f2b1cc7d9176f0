"""How far raters agree, and the highest accuracy that their noise allows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, clustered_share

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
    """Give Krippendorff's alpha with a 95% percentile interval that resamples units.

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
    """Give alpha for each row of weights over types of units."""
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
    """Give the squared ordinal distances: the ratings between two values, half of each end's included."""
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle[None, :]) ** 2


def ceiling_from_agreement(agreement: float) -> float:
    """Give 1 - e where two raters who each err with chance e agree with chance `agreement` = (1-e)^2 + e^2.

    It is the accuracy of a perfect model against one rater's labels. NaN below 1/2, where no such e exists.

    Example:
        >>> round(ceiling_from_agreement(0.73), 3)
        0.839
    """
    if not 0.5 <= agreement <= 1:
        return math.nan
    return (1 + math.sqrt(2 * agreement - 1)) / 2


def pair_agreement(votes: Floats, clusters: ArrayLike) -> Estimate:
    """Return the mean over pairs of the chance that two of a pair's votes agree; n counts pairs with two or more.

    It has the same expectation for two raters as for twenty.

    Shapes: votes [P, 2], for one side and for the other (ties left out); clusters [P].
    """
    total = votes.sum(axis=1)
    kept = total >= 2
    agree = (votes[kept] * (votes[kept] - 1)).sum(axis=1) / (total[kept] * (total[kept] - 1))
    return clustered_share(agree, np.asarray(clusters)[kept])


def without_copies(votes: Floats, named: object) -> Floats:
    """Return the votes of pairs (copied) without repeated rows that name no rater and never differ: set to 0.

    Where judgements name no rater and repeated ones never differ in the whole data, they are copies of a row, not
    raters who agree.

    Shapes: votes [P, 2], named [P], whether a rater of the pair has a name.
    """
    kept = np.array(votes, dtype=np.float64)
    unnamed = ~np.asarray(named, dtype=bool)
    if not (kept[unnamed].min(axis=1, initial=math.inf) > 0).any():
        kept[unnamed] = 0.0
    return kept


def raters_ceiling(agreement: Estimate) -> Estimate:
    """Return the highest accuracy against single raters' labels that their agreement allows.

    Assumption: every pair is equally hard, so that each rater errs with one chance (`ceiling_from_agreement`). Where
    pairs differ the truth E[max(p, 1 - p)] lies between the agreement itself and this value: with x = |p - 1/2|, E[x]
    is at most the root of E[x^2] and at least 2 E[x^2]. The mean share of the majority, which is often given instead,
    is too high for few raters: two who happen to agree count as certain (.77 for two raters who are right in .65).

    Example:
        >>> round(raters_ceiling(Estimate(0.545, 100)).value, 2)
        0.65
    """
    ends = (agreement.value, agreement.low, agreement.high)
    # Agreement below chance is noise around raters who guess.
    value, low, high = (math.nan if math.isnan(end) else ceiling_from_agreement(max(end, 0.5)) for end in ends)
    return Estimate(value, agreement.n, low, high)


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> Estimate:
    """Give Cohen's kappa of two sides' labels with the number of pairs; NaN without pairs or when neither side varies.

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
