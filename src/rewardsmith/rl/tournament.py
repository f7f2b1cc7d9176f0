"""Tournaments of a prompt's answers: who meets whom, and what the results say of each answer."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import connected_components

from rewardsmith.stats.rankings import bradley_terry

# Each pair that met counts as half a tie more than was judged: the rating of an unbeaten answer stays finite.
PRIOR_TIE = 0.5


def draw_pairs(size: int, matches: int | None, generator: random.Random) -> list[tuple[int, int]]:
    """Return who meets whom: all, or a ring in a drawn order with chords, so that all answers are connected.

    Each answer meets `matches` others, one more where that is odd.

    Example:
        >>> len(draw_pairs(8, 4, random.Random(0))), len(draw_pairs(8, None, random.Random(0)))
        (16, 28)
    """
    if matches is None or matches >= size - 1:
        return list(combinations(range(size), 2))
    order = generator.sample(range(size), size)
    found = {
        tuple(sorted((order[place], order[(place + step) % size])))
        for step in range(1, math.ceil(matches / 2) + 1)
        for place in range(size)
    }
    return [(one, other) for one, other in sorted(found)]


def rate_answers(size: int, results: Sequence[tuple[int, int, float]]) -> list[float | None]:
    """Return the Bradley-Terry rating of each answer in log odds, centred on 0, or None.

    Rated are the answers that results connect: of two parts that never met nothing tells which is better, so the
    larger one is taken, the first of equal ones.

    Args:
        size: how many answers there are.
        results: two answers that met, and the first one's share of the win, 1, 1/2, 0 or between.

    Example:
        >>> [None if rating is None else round(rating, 2) for rating in rate_answers(3, [(0, 1, 1.0)])]
        [0.8, -0.8, None]
    """
    wins = np.zeros((size, size))
    for one, other, share in results:
        wins[one, other] += share + PRIOR_TIE / 2
        wins[other, one] += 1.0 - share + PRIOR_TIE / 2
    part = connected_components(wins)[1]
    largest = np.flatnonzero(part == np.bincount(part).argmax())
    found: list[float | None] = [None] * size
    if len(largest) > 1:
        ratings = bradley_terry(wins[np.ix_(largest, largest)])
        for place, rating in zip(largest, ratings - ratings.mean(), strict=True):
            found[place] = float(rating)
    return found
