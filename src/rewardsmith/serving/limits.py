"""Limits and what goes beyond them: what the operator decides, and the refusals of a request or of one sequence.

Settings are frozen, so that a running server cannot drift. A refusal ends a request and knows its HTTP status; a
failure ends one sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.errors import ConfigError, ScoringError, UsageError
from rewardsmith.scoring.scorer import RewardParts

MEBIBYTE = 2**20
MAY_BE_ZERO = ("prefix_cache_tokens", "shutdown_seconds")


def require_limits(flags: Mapping[str, Any]) -> None:
    """Refuse values of the command's flags, by their names in Python, that no limit can be. Raises UsageError."""
    for name, value in flags.items():
        is_limit = name.startswith("max_") or name.endswith("_seconds") or name in MAY_BE_ZERO
        if is_limit and not (0 < value < math.inf or (value == 0 and name in MAY_BE_ZERO)):
            what = "0 or more" if name in MAY_BE_ZERO else "a number above 0"
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}; give {what}, and no infinite one")


def _require_positive(record: object, *names: str) -> None:
    for name in names:
        if not getattr(record, name) > 0:
            raise ConfigError(f"{name} must be positive, not {getattr(record, name)}")


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much work the engine accepts and how it cuts it into batches.

    Args:
        tokens_per_batch: distinct tokens given to the model at once; a longer single sequence goes alone.
        max_queued_requests: HTTP requests waiting or in the model; one more is answered 429.
        max_queued_tokens: tokens waiting or in the model; above it 429, or 413 if one request alone exceeds it.
        deadline_seconds: from arrival to answer; later is 504.
        gather_seconds: how long an idle model waits for company of the first sequence.
    """

    tokens_per_batch: int = 8192
    max_queued_requests: int = 1024
    max_queued_tokens: int = 1_000_000
    deadline_seconds: float = 120.0
    gather_seconds: float = 0.003

    def __post_init__(self) -> None:
        _require_positive(self, "tokens_per_batch", "max_queued_requests", "max_queued_tokens", "deadline_seconds")
        if self.gather_seconds < 0:
            raise ConfigError(f"gather_seconds must be >= 0, not {self.gather_seconds}")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything about a server besides its model.

    Args:
        limits: of the engine.
        served_names: names accepted in a request's "model" field; the first is the one answered.
        key_digests: SHA-256 hex digests of API keys without limits of their own.
        key_file: further keys, read again when the file changes. Without any key none is asked for.
        max_body_bytes: larger bodies are answered 413.
        max_total_body_bytes: bodies of all requests in work; above it 429.
        max_sequences: completions in one HTTP request; more is 413.
        body_timeout_seconds: a body that takes longer to arrive is answered 408.
        header_timeout_seconds: a connection that takes longer to send its headers is closed.
        write_timeout_seconds: an answer that its client takes longer to read ends the connection.
        max_connections: open at once; the one that has waited longest without a request makes room.
        shutdown_seconds: how long a graceful shutdown waits for accepted work.
    """

    limits: EngineLimits = EngineLimits()
    served_names: tuple[str, ...] = ()
    key_digests: tuple[str, ...] = ()
    key_file: Path | None = None
    max_body_bytes: int = 16 * MEBIBYTE
    max_total_body_bytes: int = 64 * MEBIBYTE
    max_sequences: int = 4096
    body_timeout_seconds: float = 30.0
    header_timeout_seconds: float = 10.0
    write_timeout_seconds: float = 60.0
    max_connections: int = 2048
    shutdown_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not all(self.served_names):
            raise ConfigError("a served-model-name is empty; name the model as requests shall")
        _require_positive(self, "max_body_bytes", "max_total_body_bytes", "max_sequences", "max_connections")
        _require_positive(self, "body_timeout_seconds", "header_timeout_seconds", "write_timeout_seconds")


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
