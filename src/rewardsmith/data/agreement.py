"""How far raters agree, and how accurate a model can be against labels that one of them gave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.judgement_table import Edges, join_keys
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Estimate
from rewardsmith.stats.shares import clustered_share

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
Floats = NDArray[np.float64]


def count_ratings(ratings: Any) -> tuple[Floats, Floats]:
    """Turn a table of raters x units (NaN where a rater did not rate) into counts of units x values, and the values.

    Shapes: ratings [raters, units]; counts [units, values]; values [values], ascending.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise DataError(f"ratings must be a table of raters x units, not of {table.ndim} dimensions")
    values = np.unique(table[~np.isnan(table)])
    return (table[:, :, None] == values).sum(axis=0).astype(np.float64), values


def krippendorff_alpha(
    counts: Any, values: Sequence[float] | Floats, level: Level = "nominal", resamples: int = 1000, seed: int = 0
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


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the raters of one data set agree.

    Args:
        units: pairs with two or more judgements.
        judgements: their number on these pairs.
        raters: named annotators among them; 0 when none is named.
        alpha: Krippendorff's alpha at each level over first / tie / second.
        agreement: chance that two judgements of one pair, neither a tie, agree; n counts pairs.
        ceiling: of accuracy, from `agreement` by symmetric flips.
        vote_ceiling: E[max(p, 1 - p)] over vote shares and soft labels: the accuracy of always following the majority.
            Biased upwards for few raters.
    """

    units: int
    judgements: int
    raters: int
    alpha: dict[Level, Estimate]
    agreement: Estimate
    ceiling: Estimate
    vote_ceiling: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Give the plain form for JSON."""
        return {
            "pairs_with_several_judgements": self.units,
            "judgements": self.judgements,
            "annotators": self.raters,
            "alpha": {level: value.to_dict() for level, value in self.alpha.items()},
            "agreement": self.agreement.to_dict(),
            "ceiling_from_agreement": self.ceiling.to_dict(),
            "ceiling_from_votes": self.vote_ceiling.to_dict(),
        }


def measure_agreement(edges: Edges, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Measure agreement over pairs that several judgements compare.

    One named annotator counts once a pair (the first judgement); judgements that name none count each. A soft label
    enters the vote ceiling only, since how many votes it holds is not known.
    """
    hard = np.flatnonzero(np.isnan(edges.probability) & ~edges.identical)
    pair, rater = edges.pair[hard], edges.annotator[hard]
    again = join_keys(pair, rater.astype(np.uint64))
    first = np.zeros(len(hard), dtype=bool)
    first[np.unique(again, return_index=True)[1]] = True
    hard = hard[first | (rater == 0)]
    names, inverse = np.unique(edges.pair[hard], return_inverse=True)
    counts = np.stack(
        [np.bincount(inverse, edges.direction[hard] == value, minlength=len(names)) for value in (-1, 0, 1)], axis=1
    )
    several = counts.sum(axis=1) >= 2
    raters = np.unique(edges.annotator[hard[several[inverse]]])
    alpha = {level: krippendorff_alpha(counts, (-1, 0, 1), level, resamples, seed) for level in LEVELS}
    prompts = np.zeros(len(names), dtype=np.uint64)
    prompts[inverse] = edges.prompt[hard]
    agreement = _pair_agreement(counts[several], prompts[several])
    return Agreement(
        int(several.sum()),
        int(counts[several].sum()),
        int((raters > 0).sum()),
        alpha,
        agreement,
        _map(agreement, ceiling_from_agreement),
        _vote_ceiling(counts[several], prompts[several], edges),
    )


def _pair_agreement(counts: Floats, prompts: NDArray[np.uint64]) -> Estimate:
    """Give the mean over pairs of the chance that two of its votes agree, ties left out."""
    sides = counts[:, [0, 2]]
    votes = sides.sum(axis=1)
    kept = votes >= 2
    agree = (sides[kept] * (sides[kept] - 1)).sum(axis=1) / (votes[kept] * (votes[kept] - 1))
    return clustered_share(agree, prompts[kept])


def _vote_ceiling(counts: Floats, prompts: NDArray[np.uint64], edges: Edges) -> Estimate:
    """Give the mean share of the majority over pairs with several votes and over soft labels."""
    sides = counts[:, [0, 2]]
    votes = sides.sum(axis=1)
    kept = votes >= 2
    soft = np.flatnonzero(~np.isnan(edges.probability))
    shares = np.concatenate([sides[kept].max(axis=1) / votes[kept], edges.probability[soft]])
    return clustered_share(shares, np.concatenate([prompts[kept], edges.prompt[soft]]))


def _map(estimate: Estimate, function: Any) -> Estimate:
    """Carry an estimate and its interval through a rising function."""
    low = function(max(estimate.low, 0.5)) if not math.isnan(estimate.low) else math.nan
    return Estimate(function(estimate.value), estimate.n, low, function(estimate.high))
