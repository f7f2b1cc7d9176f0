"""What the operator decides: limits, names and keys. Frozen, so that a running server cannot drift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rewardsmith.errors import ConfigError

MEBIBYTE = 2**20


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
    max_connections: int = 2048
    shutdown_seconds: float = 60.0

    def __post_init__(self) -> None:
        _require_positive(self, "max_body_bytes", "max_total_body_bytes", "max_sequences", "max_connections")
        _require_positive(self, "body_timeout_seconds", "header_timeout_seconds")
