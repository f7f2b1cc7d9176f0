"""How well a reward model ranks language models, against the ranking by people's votes on the same pairs of answers.

Every pair of answers is a battle of two models; an equal reward, like a judged tie, is half a win for each. Ratings are
Bradley-Terry's. Separability, agreement with confidence and the Brier score of model pairs are those of Arena-Hard (Li
et al. 2024, arXiv 2406.11939, section 3), which PPE takes up: intervals come from 100 bootstrap samples of the battles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rewardsmith.records import Estimate
from rewardsmith.stats.correlation import kendall, pearson, spearman
from rewardsmith.stats.intervals import Floats

ROUNDS = 100
# Keeps the rating of a model that wins every battle finite, and all ratings centred on 0.
RIDGE = 1e-3
STEPS = 100
# Ratings of models with the same results differ by rounding only, and are made equal.
DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Battle:
    """One pair of answers: who wrote them, and the first one's result (1, 1/2 or 0) by people and by the rewards."""

    first: str
    second: str
    people: float
    rewards: float


def ranking_parts(battles: Sequence[Battle], seed: int = 0) -> dict[str, Estimate]:
    """Return the agreement of the two rankings.

    Returns:
        spearman, kendalltau: of the ratings, over models.
        row-wise pearson: of a model's shares of wins against each other model, mean over models.
        separability: share of model pairs whose 95% intervals by the rewards do not overlap.
        confidence_agreement: mean over model pairs of 1 where both rankings separate them alike, -1 where they do so
            the other way round, 0 else.
        brier: mean over model pairs of (p - y)^2, p the share of bootstrap samples in which the rewards rate the first
            higher, y whether people do; lower is better.
        All are NaN with fewer than two models.
    """
    models = sorted({name for battle in battles for name in (battle.first, battle.second)})
    names = ("spearman", "kendalltau", "row-wise pearson", "separability", "confidence_agreement", "brier")
    if len(models) < 2:
        return {f"models: {name}": Estimate(math.nan, len(models)) for name in names}
    place = {name: index for index, name in enumerate(models)}
    sides = np.array([(place[battle.first], place[battle.second]) for battle in battles])
    results = np.array([(battle.people, battle.rewards) for battle in battles])
    table = np.stack([win_table(sides, results[:, side], len(models)) for side in (0, 1)])
    people, rewards = bradley_terry(table)
    draws = _bootstrap(sides, results, len(models), seed)
    pairs = len(models) * (len(models) - 1) // 2
    values = {
        "spearman": Estimate(spearman(people, rewards), len(models)),
        "kendalltau": Estimate(kendall(people, rewards), len(models)),
        "row-wise pearson": row_wise_pearson(*table),
    }
    values |= {name: Estimate(value, pairs) for name, value in confidence(people, draws).items()}
    return {f"models: {name}": values[name] for name in names}


def win_table(sides: NDArray[np.int64], results: Floats, models: int) -> Floats:
    """Return how often (ties half) each model beat each other one. Shapes: sides [n, 2], results [n] -> [m, m]."""
    wins = np.bincount(sides[:, 0] * models + sides[:, 1], results, models * models)
    losses = np.bincount(sides[:, 1] * models + sides[:, 0], 1 - results, models * models)
    return (wins + losses).reshape(models, models).astype(np.float64)


def bradley_terry(wins: Floats) -> Floats:
    """Fit ratings, in units of log odds, by Newton's method with a slight ridge. Shapes: [..., m, m] -> [..., m]."""
    models = wins.shape[-1]
    battles = wins + np.swapaxes(wins, -1, -2)
    ratings = np.zeros(wins.shape[:-1])
    for _ in range(STEPS):
        chance = expit(ratings[..., :, None] - ratings[..., None, :])
        gradient = (wins - battles * chance).sum(-1) - RIDGE * ratings
        weights = battles * chance * (1 - chance)
        curvature = np.eye(models) * (weights.sum(-1) + RIDGE)[..., None] - weights
        step = np.clip(np.linalg.solve(curvature, gradient[..., None])[..., 0], -1.0, 1.0)
        ratings = ratings + step
        if np.abs(step).max() < 1e-10:
            break
    return np.round(ratings, DECIMALS)


def row_wise_pearson(people: Floats, rewards: Floats) -> Estimate:
    """Return the mean over models of the correlation of their shares of wins; rows that do not vary are left out.

    Shapes: tables of wins [m, m] each.
    """
    battles = people + people.T
    met = battles > 0
    shares = [np.divide(wins, battles, out=np.zeros_like(wins), where=met) for wins in (people, rewards)]
    found = [pearson(*(share[row, met[row]] for share in shares)) for row in range(len(people))]
    values = [value for value in found if not math.isnan(value)]
    return Estimate(float(np.mean(values)) if values else math.nan, len(values))


def confidence(people: Floats, draws: Floats) -> dict[str, float]:
    """Return separability, agreement with confidence and the Brier score of model pairs.

    Shapes: people's ratings [m]; draws of ratings by people and by rewards [2, rounds, m].
    """
    i, j = np.triu_indices(len(people), 1)
    low, high = np.percentile(draws, (2.5, 97.5), axis=1)
    # 1 where the first of a pair is surely better, -1 where the second is, 0 where the intervals overlap.
    sure = (low[:, i] > high[:, j]).astype(float) - (low[:, j] > high[:, i])
    ahead = (draws[1][:, i] > draws[1][:, j]) + 0.5 * (draws[1][:, i] == draws[1][:, j])
    ordered = people[i] != people[j]
    misses = (ahead.mean(axis=0) - (people[i] > people[j]))[ordered] ** 2
    return {
        "separability": float(np.abs(sure[1]).mean()),
        "confidence_agreement": float((sure[0] * sure[1]).mean()),
        "brier": float(misses.mean()) if len(misses) else math.nan,
    }


def _bootstrap(sides: NDArray[np.int64], results: Floats, models: int, seed: int) -> Floats:
    """Return ratings by people and by rewards on samples of the battles. Shapes: -> [2, rounds, m]."""
    generator = np.random.default_rng(seed)
    tables = np.empty((2, ROUNDS, models, models))
    for drawn in range(ROUNDS):
        rows = generator.integers(0, len(sides), len(sides))
        for side in (0, 1):
            tables[side, drawn] = win_table(sides[rows], results[rows, side], models)
    return bradley_terry(tables)
