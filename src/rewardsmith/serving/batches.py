"""What the model computes together: which waiting sequences make a batch, and the outcome of each of its rows.

Sequences are compared as bytes (four a token, most significant first), so that sorting puts those with a common
prefix beside each other at the speed of memcmp. The oldest sequence always goes first: none can starve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from rewardsmith.errors import RewardsmithError, ScoringError, try_halves
from rewardsmith.models.shared_prefix.packing import (
    MIN_SHARED_TOKENS,
    TOKEN_BYTES,
    group_by_prefix,
    num_shared_tokens,
    sort_key,
)
from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.refusals import Failure, Outcome


class Sortable(Protocol):
    """Anything with the sort key of its token ids."""

    key: bytes


Row = TypeVar("Row", bound=Sortable)


def choose(waiting: Sequence[Row], budget: int) -> list[Row]:
    """Take the oldest sequence, those that share its prefix, then the next oldest, until `budget` distinct tokens.

    `waiting` is in order of arrival. Gives at least one sequence when any waits.
    """
    by_key = sorted(waiting, key=lambda row: row.key)
    place = {id(row): index for index, row in enumerate(by_key)}
    taken: dict[int, Row] = {}
    spent = 0
    for row in waiting:
        if id(row) in taken:
            continue
        cost = len(row.key) // TOKEN_BYTES
        if taken and spent + cost > budget:
            break
        taken[id(row)] = row
        spent = _take_neighbours(by_key, place[id(row)], taken, spent + cost, budget)
    return list(taken.values())


def _take_neighbours(by_key: Sequence[Row], start: int, taken: dict[int, Row], spent: int, budget: int) -> int:
    """Add to `taken` the sequences beside `start` that share enough of its prefix; give the tokens spent."""
    origin = by_key[start].key
    for step in (1, -1):
        index = start + step
        while 0 <= index < len(by_key) and id(by_key[index]) not in taken:
            key = by_key[index].key
            shared = num_shared_tokens(origin, key)
            length = len(key) // TOKEN_BYTES
            if shared < max(MIN_SHARED_TOKENS, length // 8) or spent + length - shared > budget:
                break
            taken[id(by_key[index])] = by_key[index]
            spent += length - shared
            index += step
    return spent


class EncodedScorer(Protocol):
    """The part of a reward model that a batch needs; one that has `read_encoded` gives the parts of rewards, too."""

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Give one reward per id sequence of every group."""


def score_rows(scorer: EncodedScorer, rows: Sequence[Sequence[int]]) -> list[Outcome]:
    """Give one outcome per row of token ids, in order. Raises nothing that only some rows cause."""
    keyed: dict[bytes, Sequence[int]] = {sort_key(ids): ids for ids in rows}
    order = sorted(keyed)
    results = try_halves(lambda part: _score_together(scorer, part), [keyed[key] for key in order], Exception)
    outcomes = [Failure(_reason(found)) if isinstance(found, Exception) else found for found in results]
    scored = dict(zip(order, outcomes, strict=True))
    return [scored[sort_key(ids)] for ids in rows]


def _score_together(scorer: EncodedScorer, rows: Sequence[Sequence[int]]) -> list[Outcome]:
    """Score sorted rows in one call; NaN and infinity become failures."""
    groups = group_by_prefix([sort_key(ids) for ids in rows])
    read: Any = getattr(scorer, "read_encoded", scorer.score_encoded)
    rewards = read([[list(rows[index]) for index in group] for group in groups])
    if [len(values) for values in rewards] != [len(group) for group in groups]:
        raise ScoringError("the model gave another number of rewards than it was asked for")
    outcomes: list[Outcome] = [Failure("not scored")] * len(rows)
    for group, values in zip(groups, rewards, strict=True):
        for index, value in zip(group, values, strict=True):
            outcomes[index] = _checked(value if isinstance(value, RewardParts) else RewardParts(float(value)))
    return outcomes


def _checked(parts: RewardParts) -> Outcome:
    if math.isfinite(parts.reward):
        return parts
    return Failure(f"the model gave {parts.reward}; its weights or dtype are at fault")


def _reason(error: Exception) -> str:
    """Name an error. Only our own messages are passed on: others may quote the text."""
    return str(error) if isinstance(error, RewardsmithError) else f"the model raised {type(error).__name__}"
