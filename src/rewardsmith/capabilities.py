"""What a scorer can do beside giving rewards: said by the scorer, asked here, never found out by trying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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
