"""Which of two reward models agrees with people more, from few labels.

Pairs on which the models differ are drawn with higher probability, the more they differ the higher; a share is drawn
from all pairs alike. Draw t of pair i has probability q_i, with replacement, and z_t = y_i / (N q_i) with
y = (A agrees) - (B agrees) is an unbiased estimate of the difference of accuracies over all N pairs (Hansen and Hurwitz
1943). The interval is Student's over the draws. Labelling stops when it is narrow enough, not when it excludes 0:
stopping at a fixed width keeps its coverage (Chow and Robbins 1965), stopping at significance would not.

In a project the pairs are items in the order of the draws, and the result is that of the votes so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from scipy.special import expit

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.collection import Collection
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items, item_key
from rewardsmith.collecting.ordering import apply_order
from rewardsmith.collecting.quality import unit_values
from rewardsmith.collecting.store import log_event
from rewardsmith.errors import DataError
from rewardsmith.records import Estimate, PreferenceGroup

Floats = NDArray[np.float64]
RANDOM_SHARE = 0.1
FEWEST = 50
NARROW = 0.05


@dataclass(frozen=True, slots=True)
class DuelPlan:
    """What is drawn.

    Args:
        gaps_a, gaps_b: each model's reward of the first answer less the second, for each of N pairs.
        chances: probability q of each pair at every draw; they sum to 1.
        draws: pairs in the order in which they are labelled; one may come several times and is then labelled once.
    """

    gaps_a: Floats
    gaps_b: Floats
    chances: Floats
    draws: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class DuelResult:
    """What the labels say so far.

    Args:
        difference: accuracy of A less that of B; n counts draws.
        labels: different pairs that were labelled.
        settled: whether the interval is narrow enough to stop.
    """

    difference: Estimate
    accuracy_a: Estimate
    accuracy_b: Estimate
    labels: int
    settled: bool

    @property
    def winner(self) -> str | None:
        """ "A" or "B" where the interval excludes 0, else None."""
        if math.isnan(self.difference.low) or self.difference.low <= 0 <= self.difference.high:
            return None
        return "A" if self.difference.value > 0 else "B"


def plan_duel(
    gaps_a: Sequence[float] | Floats,
    gaps_b: Sequence[float] | Floats,
    draws: int,
    share: float = RANDOM_SHARE,
    seed: int = 0,
) -> DuelPlan:
    """Draw the pairs to label.

    A pair on which both models prefer the same answer says nothing about their difference and is drawn by the random
    share alone. The others weigh 1/2 to 1 by how far the models' probabilities lie apart: bounded weights keep the
    estimate's variance bounded.

    Args:
        draws: how many to draw at most.
        share: of the draws, from all pairs alike.

    Raises:
        DataError: no pairs, or rewards that are not finite.
    """
    a, b = np.asarray(gaps_a, dtype=np.float64), np.asarray(gaps_b, dtype=np.float64)
    if a.shape != b.shape or not len(a) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError(f"a duel needs finite rewards of both models for the same pairs, not {len(a)} and {len(b)}")
    apart = np.abs(expit(a) - expit(b))
    weights = np.where(np.sign(a) != np.sign(b), 0.5 + 0.5 * apart / max(float(apart.max()), 1e-12), 0.0)
    uniform = np.full(len(a), 1 / len(a))
    chances = uniform if not weights.any() else share * uniform + (1 - share) * weights / weights.sum()
    chances = chances / chances.sum()
    return DuelPlan(a, b, chances, np.random.default_rng(seed).choice(len(a), size=draws, p=chances))


def judge_duel(plan: DuelPlan, votes: Mapping[int, float], narrow: float = NARROW) -> DuelResult:
    """Estimate from the labels so far.

    Args:
        votes: pair to the share of people who prefer the first answer; a tie is one half. Draws of a pair without a
            label are left out.
        narrow: half-width of the interval at which labelling stops.
    """
    drawn = np.array([pair for pair in plan.draws.tolist() if pair in votes], dtype=np.intp)
    if not len(drawn):
        nothing = Estimate(math.nan, 0)
        return DuelResult(nothing, nothing, nothing, 0, False)
    vote = np.array([votes[pair] for pair in drawn.tolist()])
    scale = 1 / (len(plan.chances) * plan.chances[drawn])
    right_a, right_b = _agreement(plan.gaps_a[drawn], vote), _agreement(plan.gaps_b[drawn], vote)
    difference = _mean((right_a - right_b) * scale)
    half = (difference.high - difference.low) / 2
    return DuelResult(
        difference,
        _ratio(right_a * scale, scale),
        _ratio(right_b * scale, scale),
        len(set(drawn.tolist())),
        len(drawn) >= FEWEST and bool(half <= narrow),
    )


def _agreement(gaps: Floats, vote: Floats) -> Floats:
    """Return how far each preference agrees with people: the share of votes for its side; without one, one half."""
    return np.where(gaps > 0, vote, np.where(gaps < 0, 1 - vote, 0.5))


def _mean(values: Floats) -> Estimate:
    n, value = len(values), float(values.mean())
    if n < 2:
        return Estimate(value, n)
    from scipy.stats import t as student

    half = float(student.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(value, n, value - half, value + half)


def _ratio(top: Floats, bottom: Floats) -> Estimate:
    """Return sum(top) / sum(bottom) with the interval of its linearisation, inside [0, 1]."""
    value = float(top.sum() / bottom.sum())
    around = _mean((top - value * bottom) / bottom.mean())
    if math.isnan(around.low):
        return Estimate(value, len(top))
    half = (around.high - around.low) / 2
    return Estimate(value, len(top), max(0.0, value - half), min(1.0, value + half))


def add_duel(collection: Collection, plan: DuelPlan, pairs: list[PreferenceGroup]) -> int:
    """Add the pairs that were drawn as items, the first draw first; returns how many."""
    first: dict[int, int] = {}
    for turn, pair in enumerate(plan.draws.tolist()):
        first.setdefault(pair, turn)
    add_items(collection.store, collection.project, [pairs[pair] for pair in first])
    keys = {item_key(pairs[pair]): turn for pair, turn in first.items()}
    values = {item.item_id: -float(keys[item.key]) for item in load_items(collection.store) if item.key in keys}
    apply_order(collection.store, "gap", values)
    return len(values)


def duel_result(
    collection: Collection, plan: DuelPlan, pairs: list[PreferenceGroup], narrow: float = NARROW
) -> DuelResult:
    """Return what the votes so far say; a pair's vote is the mean over its annotators."""
    numbers = {item_key(pair): n for n, pair in enumerate(pairs)}
    question = collection.project.main_question
    votes: dict[int, float] = {}
    for item in load_items(collection.store):
        said = [unit_values(question, item, judged).get((0, 1)) for judged in item.votes()]
        known = [(value + 1) / 2 for value in said if value is not None]
        if item.key in numbers and known:
            votes[numbers[item.key]] = sum(known) / len(known)
    return judge_duel(plan, votes, narrow)


def close_items(collection: Collection) -> None:
    """Serve nothing more: the duel is decided."""
    with collection.store.transaction() as connection:
        seats = (t.slot.c.state == "open",)
        connection.execute(sa.update(t.slot).where(*seats).values(state="closed"))
        log_event(connection, "duel", "settled")
