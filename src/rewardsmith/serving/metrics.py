"""The Prometheus metrics of one server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rewardsmith.serving.refusals import Failure, Outcome

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
REWARDS = (-20.0, -10.0, -5.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
COUNTS = tuple(float(2**power) for power in range(18))


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
        self.rewards = Histogram("rewardsmith_reward", "Raw rewards, for drift", buckets=REWARDS, registry=registry)

    def observe_batch(self, rows: int, tokens: int, seconds: float, waits: Sequence[float]) -> None:
        """Record one batch: its size, its tokens, its time in the model and its rows' times in the queue."""
        self.batch_rows.observe(rows)
        self.tokens.inc(tokens)
        self.batch_seconds.observe(seconds)
        for wait in waits:
            self.wait_seconds.observe(max(wait, 0.0))

    def observe_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Record rewards and failures."""
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                self.failed.inc()
            else:
                self.rewards.observe(outcome.reward)

    def exposition(self) -> bytes:
        """Give the text that Prometheus scrapes."""
        return generate_latest(self.registry)
