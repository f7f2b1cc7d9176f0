"""Bradley-Terry with annotator ability: how sharply each annotator tells better from worse.

P(r prefers i to j) = sigmoid(exp(b_r) * (s_i - s_j)), with s ~ N(0, 1 / prior) and b ~ N(0, 0.5^2). The ability
exp(b_r) is given relative to the geometric mean: 1 is typical, near 0 answers by coin. A tie is half a vote for either
side. It is the maximum a posteriori; intervals are Laplace's, with the strengths integrated out. Close to Chen et al.
2013 ("Pairwise Ranking Aggregation in a Crowdsourced Setting"), whose ability is a mixture with the reversed order.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rewardsmith.records import Estimate

Floats = NDArray[np.float64]
ABILITY_SD = 0.5


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote: `share` of it for `first` (1, 0, or 0.5 for a tie) against `second`, in one item."""

    rater: str
    item: Hashable
    first: Hashable
    second: Hashable
    share: float


@dataclass(frozen=True, slots=True)
class Strengths:
    """What was fitted: strengths by completion, abilities by annotator with a 95% interval."""

    strengths: dict[Hashable, float]
    abilities: dict[str, Estimate]


def fit_bradley_terry(votes: Sequence[Vote], *, ability: bool = True, prior: float = 0.5) -> Strengths:
    """Fit strengths and abilities; without `ability` every annotator counts alike (plain Bradley-Terry).

    Args:
        prior: precision of the strengths; it keeps them finite where one side won every vote.

    Example:
        >>> votes = [Vote("r", 1, "a", "b", 1.0)] * 3 + [Vote("r", 1, "a", "b", 0.0)]
        >>> round(fit_bradley_terry(votes, ability=False, prior=1e-6).strengths["a"] * 2, 3)
        1.099
    """
    if not votes:
        return Strengths({}, {})
    raters = {rater: n for n, rater in enumerate(dict.fromkeys(vote.rater for vote in votes))}
    names = dict.fromkeys(name for vote in votes for name in (vote.first, vote.second))
    places = {name: n for n, name in enumerate(names)}
    rater = np.array([raters[vote.rater] for vote in votes])
    first, second = (np.array([places[getattr(vote, side)] for vote in votes]) for side in ("first", "second"))
    share = np.array([vote.share for vote in votes], dtype=np.float64)
    size = len(places)

    def loss(values: Floats) -> tuple[float, Floats]:
        strength, log_ability = values[:size], values[size:]
        scale = np.exp(log_ability[rater]) if ability else np.ones(len(votes))
        gap = strength[first] - strength[second]
        logit = scale * gap
        error = expit(logit) - share
        value = float(np.sum(np.logaddexp(0, logit) - share * logit) + prior * strength @ strength / 2)
        gradient = np.zeros_like(values)
        gradient[:size] = prior * strength
        np.add.at(gradient, first, error * scale)
        np.add.at(gradient, second, -error * scale)
        if ability:
            value += float(log_ability @ log_ability) / (2 * ABILITY_SD**2)
            np.add.at(gradient, size + rater, error * logit)
            gradient[size:] += log_ability / ABILITY_SD**2
        return value, gradient

    start = np.zeros(size + len(raters))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-13, "gtol": 1e-9}).x
    strengths = {name: float(best[n]) for name, n in places.items()}
    if not ability:
        return Strengths(strengths, {})
    spread = _spread(votes, best, (rater, first, second), size, prior)
    counts = np.bincount(rater, minlength=len(raters))
    best[size:] -= best[size:].mean()
    abilities = {name: _estimate(float(best[size + n]), float(spread[n]), int(counts[n])) for name, n in raters.items()}
    return Strengths(strengths, abilities)


def _estimate(log_ability: float, sd: float, n: int) -> Estimate:
    low, high = (math.exp(log_ability + sign * 1.959964 * sd) for sign in (-1, 1))
    return Estimate(math.exp(log_ability), n, low, high)


def _spread(
    votes: Sequence[Vote],
    best: Floats,
    index: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]],
    size: int,
    prior: float,
) -> Floats:
    """Return the standard deviation of every log ability: the Hessian with the strengths of each item eliminated."""
    rater, first, second = index
    count = len(best) - size
    scale = np.exp(best[size:][rater])
    logit = scale * (best[first] - best[second])
    weight = expit(logit) * (1 - expit(logit))
    hessian = np.diag(np.full(count, 1 / ABILITY_SD**2))
    np.add.at(hessian, (rater, rater), weight * logit**2)
    rows: dict[Hashable, list[int]] = {}
    for n, vote in enumerate(votes):
        rows.setdefault(vote.item, []).append(n)
    for own in rows.values():
        chosen = np.array(own)
        places = np.unique(np.concatenate([first[chosen], second[chosen]]))
        a, b = np.searchsorted(places, first[chosen]), np.searchsorted(places, second[chosen])
        inner = np.diag(np.full(len(places), prior))
        curve = weight[chosen] * scale[chosen] ** 2
        for one, two, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
            np.add.at(inner, (one, two), sign * curve)
        cross = np.zeros((len(places), count))
        slope = weight[chosen] * scale[chosen] * logit[chosen]
        np.add.at(cross, (a, rater[chosen]), slope)
        np.add.at(cross, (b, rater[chosen]), -slope)
        hessian -= cross.T @ np.linalg.solve(inner, cross)
    return np.sqrt(np.clip(np.diag(np.linalg.pinv(hessian)), 0, None))
