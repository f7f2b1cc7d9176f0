"""What a server tells of itself: Prometheus metrics in a registry of their own, and a log line a request."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rewardsmith.capabilities import PrefixCounts
from rewardsmith.errors import ConfigError
from rewardsmith.serving.auth import Key
from rewardsmith.serving.bodies import Held
from rewardsmith.serving.limits import Failure, Outcome

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
REWARDS = (-20.0, -10.0, -5.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
COUNTS = tuple(float(2**power) for power in range(18))
# Where the outer layer leaves what it knows of a request for the inner ones.
VISIT = "rewardsmith.visit"
SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
access_logger = logging.getLogger("rewardsmith.access")


def open_access_log(name: str) -> None:
    """Write a line a request to the file of this name, or with "-" to the terminal. Raises ConfigError."""
    try:
        handler = logging.StreamHandler() if name == "-" else logging.FileHandler(name, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the access log {name}: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    access_logger.setLevel(logging.INFO)
    access_logger.propagate = False
    access_logger.addHandler(handler)


@dataclass(eq=False, slots=True)
class Visit:
    """One HTTP request as the outer layer and the log know it. It holds the parsed body until it is read, once.

    Args:
        request_id: the caller's, or a new one; in the answer's X-Request-Id and in the log.
        method: GET, POST, ...
        route: a known path, or "other".
        held: its part of the room for bodies.
    """

    request_id: str
    method: str
    route: str
    held: Held
    started: float = field(default_factory=time.monotonic)
    client: str = ""
    key: Key | None = None
    status: int = 499
    body: object = None
    body_bytes: int = 0
    answer_bytes: int = 0
    sequences: int = 0
    tokens: int = 0

    def log(self) -> None:
        """Write one line of JSON to the access log. It holds no text, no query string and no header."""
        if not access_logger.isEnabledFor(logging.INFO):
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": self.request_id,
            "client": self.client,
            "key": self.key.name if self.key else None,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "seconds": round(time.monotonic() - self.started, 4),
            "body_bytes": self.body_bytes,
            "answer_bytes": self.answer_bytes,
            "sequences": self.sequences,
            "tokens": self.tokens,
        }
        access_logger.info("%s", json.dumps(line))


def request_id(headers: Mapping[str, str]) -> str:
    """Return the caller's request id where it is a plain one, else a new one."""
    given = headers.get("x-request-id", "")
    return given if SAFE_ID.fullmatch(given) else secrets.token_hex(16)


class Metrics:
    """Counters, gauges and histograms, named `rewardsmith_*`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("rewardsmith_requests", "HTTP requests", ["route", "code"], registry=registry)
        self.request_seconds = Histogram(
            "rewardsmith_request_seconds", "Whole HTTP request", ["route"], buckets=SECONDS, registry=registry
        )
        self.queued_requests = Gauge("rewardsmith_queued_requests", "Admitted, not yet answered", registry=registry)
        self.queued_tokens = Gauge("rewardsmith_queued_tokens", "Tokens waiting or in the model", registry=registry)
        self.busy_seconds = Gauge(
            "rewardsmith_model_busy_seconds", "How long the present batch has run", registry=registry
        )
        self.rejected = Counter("rewardsmith_rejected", "Requests answered 429", registry=registry)
        self.disconnected = Counter(
            "rewardsmith_disconnected", "Clients that left before the answer", registry=registry
        )
        self.truncated = Counter("rewardsmith_truncated_sequences", "Sequences cut because asked", registry=registry)
        self.failed = Counter("rewardsmith_failed_sequences", "Sequences without a reward", registry=registry)
        self.worker_restarts = Counter("rewardsmith_worker_restarts", "Model threads replaced", registry=registry)
        self.tokens = Counter("rewardsmith_tokens", "Tokens of scored sequences", registry=registry)
        self.batch_rows = Histogram("rewardsmith_batch_rows", "Sequences a batch", buckets=COUNTS, registry=registry)
        self.batch_seconds = Histogram("rewardsmith_batch_seconds", "Model time", buckets=SECONDS, registry=registry)
        self.wait_seconds = Histogram("rewardsmith_wait_seconds", "Time in queue", buckets=SECONDS, registry=registry)
        self.tokenise_seconds = Histogram(
            "rewardsmith_tokenise_seconds", "Rendering and tokenising a request", buckets=SECONDS, registry=registry
        )
        self.prefix_hits = Counter(
            "rewardsmith_prefix_hits", "Sequences that went on from a kept prefix", registry=registry
        )
        self.prefix_saved = Counter("rewardsmith_prefix_saved_tokens", "Tokens not computed again", registry=registry)
        self.prefix_kept = Gauge("rewardsmith_prefix_kept_tokens", "Tokens of all kept prefixes", registry=registry)
        self._prefixes = PrefixCounts()
        self.rewards = Histogram("rewardsmith_reward", "Raw rewards, for drift", buckets=REWARDS, registry=registry)

    def observe_batch(self, rows: int, tokens: int, seconds: float, waits: Sequence[float]) -> None:
        """Record one batch: its size, its tokens, its time in the model and its rows' times in the queue."""
        self.batch_rows.observe(rows)
        self.tokens.inc(tokens)
        self.batch_seconds.observe(seconds)
        for wait in waits:
            self.wait_seconds.observe(max(wait, 0.0))

    def observe_prefixes(self, counts: PrefixCounts) -> None:
        """Record what kept prefixes have saved since the start."""
        self.prefix_hits.inc(counts.hits - self._prefixes.hits)
        self.prefix_saved.inc(counts.saved_tokens - self._prefixes.saved_tokens)
        self.prefix_kept.set(counts.kept_tokens)
        self._prefixes = counts

    def observe_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Record rewards and failures."""
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                self.failed.inc()
            else:
                self.rewards.observe(outcome.reward)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)
