"""Why there is no reward: a refusal ends a request and knows its HTTP status, a failure ends one sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rewardsmith.errors import ScoringError
from rewardsmith.scoring.scorer import RewardParts


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one sequence has no reward; `reason` never holds its text."""

    reason: str


Outcome = RewardParts | Failure


class Refusal(ScoringError):
    """A request that is not answered with rewards.

    Args:
        message: what came, what is accepted, what to do. Never holds the text that was sent.
        status: HTTP status.
        kind: short machine-readable reason.
        headers: further response headers, such as Retry-After.
    """

    def __init__(self, message: str, status: int, kind: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})


def invalid(message: str) -> Refusal:
    """Refuse content that cannot be scored (422)."""
    return Refusal(message, 422, "invalid_input")


def too_large(message: str) -> Refusal:
    """Refuse what can never fit, however long the caller waits (413)."""
    return Refusal(message, 413, "too_large")


def overloaded(retry_after_seconds: float) -> Refusal:
    """Refuse for now (429) and say after how many whole seconds to come back."""
    seconds = max(1, min(60, round(retry_after_seconds + 0.5)))
    return Refusal(f"the queue is full; retry after {seconds} s", 429, "overloaded", {"Retry-After": str(seconds)})


def draining() -> Refusal:
    """Refuse because the server finishes its work before it stops (503)."""
    return Refusal("the server is shutting down; ask another replica", 503, "draining", {"Retry-After": "5"})


def hung(seconds: float) -> Refusal:
    """Refuse because the model does not come back from its present batch (503)."""
    message = f"the model has not come back from one batch for {seconds:.0f} s; ask another replica"
    return Refusal(message, 503, "model_hung", {"Retry-After": "5"})


def expired(seconds: float) -> Refusal:
    """Refuse because the deadline passed before the rewards were there (504)."""
    return Refusal(f"no rewards within the deadline of {seconds:g} s; retry or send less at once", 504, "deadline")
