"""What a scorer can do beside giving rewards, and what it then gives: said by it, never found out by trying."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rewardsmith.records import ScoreRequest


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a scorer can do beside `score_requests`; who needs more asks here instead of trying.

    Args:
        scores_ids: one sequence of token ids has a reward of its own (`encode`, `score_encoded`).
        gives_parts: `score_parts` says what each reward is made of.
        compares: a number depends on the other answers of its prompt.
        shares_prefix: what sequences have in common at their start is computed once.
        max_length: longest sequence in tokens; None when there is no end, or nothing is known.
    """

    scores_ids: bool = False
    gives_parts: bool = False
    compares: bool = False
    shares_prefix: bool = False
    max_length: int | None = None


class Outcomes(NamedTuple):
    """The probabilities of how a comparison of two answers ends; `tie` is None where the model knows no ties."""

    first: float
    second: float
    tie: float | None

    @property
    def preference(self) -> float:
        """The probability that the first is preferred where one of the two is."""
        either = self.first + self.second
        return self.first / either if either else math.nan


class OutcomeReader(Protocol):
    """Says how comparisons of two answers end, from what a scorer gave for each; checked once, asked often.

    `tie_models` are the models of ties that its members know, "davidson" or "rao_kupper"; empty where they know none.
    `trained_ties` are those that members were trained with.
    """

    @property
    def tie_models(self) -> tuple[str, ...]: ...

    @property
    def trained_ties(self) -> tuple[str, ...]: ...

    @property
    def of(self) -> Callable[..., Outcomes]: ...


@runtime_checkable
class GivesOutcomes(Protocol):
    """A scorer that says how a comparison of two answers ends."""

    def outcome_reader(self) -> OutcomeReader: ...

    def score_parts(self, requests: Sequence[ScoreRequest]) -> Sequence[Sequence[Any]]: ...


@dataclass(slots=True)
class PrefixCounts:
    """What was saved since the start, and what is held.

    Args:
        hits: sequences that went on from a kept prefix.
        saved_tokens: tokens that were not computed again.
        kept_tokens: tokens of all entries.
    """

    hits: int = 0
    saved_tokens: int = 0
    kept_tokens: int = 0

    def __add__(self, other: PrefixCounts) -> PrefixCounts:
        """Return the counts of two models together."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return PrefixCounts(*(left + right for left, right in pairs))


@runtime_checkable
class DeclaresCapabilities(Protocol):
    """A scorer that says what it can do."""

    @property
    def capabilities(self) -> Capabilities: ...


@runtime_checkable
class GivesParts(Protocol):
    """A scorer that says what its rewards are made of."""

    def score_parts(self, requests: Sequence[ScoreRequest]) -> Sequence[Sequence[Any]]: ...


def capabilities_of(scorer: object) -> Capabilities:
    """Return what a scorer declares; one that declares nothing, such as a user's own, gives rewards, perhaps parts."""
    if isinstance(scorer, DeclaresCapabilities):
        return scorer.capabilities
    return Capabilities(gives_parts=isinstance(scorer, GivesParts))
