"""The queue between HTTP requests and the model: bounded, merged into batches, fair to the oldest.

Requests are tokenised in one thread and scored in another, so the event loop never waits for either. The model
thread takes what waits whenever it is free, so batches grow by themselves under load. One engine lives in one
event loop.

Sequences are compared as bytes (four a token, most significant first), so that sorting puts those with a common
prefix beside each other at the speed of memcmp. The oldest sequence always goes first: none can starve.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from rewardsmith.capabilities import PrefixCounts
from rewardsmith.errors import RewardsmithError, ScoringError, try_halves
from rewardsmith.models.shared_prefix.store import (
    KEPT_TOKENS,
    MIN_SHARED_TOKENS,
    TOKEN_BYTES,
    group_by_prefix,
    num_shared_tokens,
    sort_key,
)
from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.limits import EngineLimits, Failure, Outcome, draining, expired, hung, overloaded, too_large
from rewardsmith.serving.metrics import Metrics

logger = logging.getLogger("rewardsmith.serving")
WINDOW = 2048  # how many waiting sequences are looked through for shared prefixes
# A batch that still runs when the engine stops has nobody waiting for it, unless its requests were given up.
JOIN_SECONDS = 5.0
Result = TypeVar("Result")


class Sortable(Protocol):
    """Anything with the sort key of its token ids."""

    key: bytes


Row = TypeVar("Row", bound=Sortable)


def choose(waiting: Sequence[Row], budget: int, num_kept: Callable[[bytes], int] = lambda key: 0) -> list[Row]:
    """Take the oldest sequence, those that share its prefix, then the next oldest, until `budget` distinct tokens.

    `waiting` is in order of arrival. Gives at least one sequence when any waits.

    Args:
        num_kept: how many first tokens of a key the model keeps of earlier requests and does not compute again.
    """
    by_key = sorted(waiting, key=lambda row: row.key)
    place = {id(row): index for index, row in enumerate(by_key)}
    taken: dict[int, Row] = {}
    spent = 0
    for row in waiting:
        if id(row) in taken:
            continue
        kept = num_kept(row.key)
        cost = len(row.key) // TOKEN_BYTES - kept + kept // KEPT_TOKENS
        if taken and spent + cost > budget:
            break
        taken[id(row)] = row
        spent = budget - _take_neighbours(by_key, place[id(row)], taken, budget - spent - cost)
    return list(taken.values())


def _take_neighbours(by_key: Sequence[Row], start: int, taken: dict[int, Row], room: int) -> int:
    """Add to `taken` the sequences beside `start` that share enough of its prefix; give the tokens left of `room`."""
    origin = by_key[start].key
    for step in (1, -1):
        index = start + step
        while 0 <= index < len(by_key) and id(by_key[index]) not in taken:
            key = by_key[index].key
            shared = num_shared_tokens(origin, key)
            length = len(key) // TOKEN_BYTES
            if shared < max(MIN_SHARED_TOKENS, length // 8) or length - shared > room:
                break
            taken[id(by_key[index])] = by_key[index]
            room -= length - shared
            index += step
    return room


class EncodedScorer(Protocol):
    """The part of a reward model that a batch needs; one that has `read_encoded` gives the parts of rewards, too."""

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Return one reward per id sequence of every group."""


def score_rows(scorer: EncodedScorer, rows: Sequence[Sequence[int]]) -> list[Outcome]:
    """Return one outcome per row of token ids, in order. Raises nothing that only some rows cause."""
    keyed = {_identity(ids): ids for ids in rows}
    order = sorted(keyed)
    results = try_halves(lambda part: _score_together(scorer, part), [keyed[key] for key in order], Exception)
    outcomes = [Failure(_reason(found)) if isinstance(found, Exception) else found for found in results]
    scored = dict(zip(order, outcomes, strict=True))
    return [scored[_identity(ids)] for ids in rows]


def _identity(ids: Sequence[int]) -> tuple[bytes, tuple[int, ...]]:
    """Return what a reward depends on, sorted by ids: those of a step model know where its steps end."""
    return sort_key(ids), getattr(ids, "places", ())


def _score_together(scorer: EncodedScorer, rows: Sequence[Sequence[int]]) -> list[Outcome]:
    """Score sorted rows in one call; NaN and infinity become failures."""
    groups = group_by_prefix([sort_key(ids) for ids in rows])
    read: Any = getattr(scorer, "read_encoded", scorer.score_encoded)
    rewards = read([[rows[index] for index in group] for group in groups])
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


@dataclass(eq=False, slots=True)
class _Job:
    """One HTTP request in the engine."""

    future: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome]
    remaining: int
    deadline: float
    dropped: bool = False


@dataclass(eq=False, slots=True)
class _Row:
    """One sequence of a job."""

    job: _Job
    index: int
    ids: Sequence[int]
    key: bytes
    arrived: float = field(default_factory=time.monotonic)


class Engine:
    """Own the model thread and the queue in front of it.

    Args:
        scorer: gives rewards of token ids; only the model thread calls it.
        limits: sizes and times.
        metrics: counters that the engine keeps up to date.
    """

    def __init__(self, scorer: EncodedScorer, limits: EngineLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._scorer = scorer
        self._num_kept: Callable[[bytes], int] = getattr(scorer, "num_kept", lambda key: 0)
        self._metrics = metrics
        self._condition = threading.Condition()
        self._waiting: list[_Row] = []
        self._running: list[_Row] = []
        self._batch_started: float | None = None
        self._num_requests = 0
        self._num_tokens = 0
        self._tokens_per_second = 0.0
        self._is_draining = False
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused because the server is about to stop."""
        return self._is_draining

    @property
    def num_requests(self) -> int:
        """Requests admitted and not yet answered."""
        return self._num_requests

    @property
    def is_full(self) -> bool:
        """Whether one more request would be answered 429."""
        full_tokens = self._num_tokens >= self.limits.max_queued_tokens
        return self._num_requests >= self.limits.max_queued_requests or full_tokens

    @property
    def busy_seconds(self) -> float:
        """How long the model has worked on its present batch; 0 when it waits."""
        started = self._batch_started
        return 0.0 if started is None else time.monotonic() - started

    @property
    def is_hung(self) -> bool:
        """Whether the present batch takes longer than any request may: none of its answers can be in time."""
        return self.busy_seconds > self.limits.deadline_seconds

    def is_alive(self) -> bool:
        """Whether the model thread runs, or will start with the first request."""
        return self._thread is None or self._thread.is_alive()

    def admit(self) -> Admission:
        """Take a place among the requests. Raises Refusal 503 while draining or hung, and 429 when full."""
        if self._is_draining or self._is_stopped:
            raise draining()
        if self.is_hung:
            raise hung(self.busy_seconds)
        if self.is_full:
            self._metrics.rejected.inc()
            raise overloaded(self._wait_seconds())
        return Admission(self)

    def drain(self) -> None:
        """Refuse new work from now on; what was admitted is finished."""
        self._is_draining = True

    async def idle(self) -> None:
        """Wait until every admitted request is answered."""
        while self._num_requests:
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        """End the model thread after its current batch; what still waits fails."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=JOIN_SECONDS)
        with self._condition:
            left, self._waiting = self._waiting, []
        self._settle(left, [Failure("the server stopped")] * len(left))

    async def _score(self, rows: Sequence[Sequence[int]], deadline: float) -> list[Outcome]:
        """Queue the rows of an admitted request and wait for every outcome."""
        num_tokens = sum(map(len, rows))
        self._check_tokens(num_tokens)
        job = _Job(asyncio.get_running_loop().create_future(), [Failure("not scored")] * len(rows), len(rows), deadline)
        queued = [_Row(job, index, ids, sort_key(ids)) for index, ids in enumerate(rows)]
        self._count_tokens(num_tokens)
        try:
            with self._condition:
                self._waiting.extend(queued)
                self._ensure_thread()
                self._condition.notify_all()
            return await job.future
        finally:
            job.dropped = True
            self._count_tokens(-num_tokens)

    def _check_tokens(self, num_tokens: int) -> None:
        room = self.limits.max_queued_tokens
        if num_tokens > room:
            raise too_large(f"the request has {num_tokens} tokens and the queue holds {room}; split it")
        if self._num_tokens + num_tokens > room:
            self._metrics.rejected.inc()
            raise overloaded(self._wait_seconds())

    def _wait_seconds(self) -> float:
        return self._num_tokens / self._tokens_per_second if self._tokens_per_second else 1.0

    def _count_tokens(self, change: int) -> None:
        self._num_tokens += change
        self._metrics.queued_tokens.set(self._num_tokens)

    def _ensure_thread(self) -> None:
        """Start the model thread, again if it died."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._thread is not None:
            self._metrics.worker_restarts.inc()
        self._thread = threading.Thread(target=self._run, name="rewardsmith-model", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Score batches until stopped; whatever kills this thread fails its batch, and a new thread takes over."""
        try:
            while rows := self._next_batch():
                self._score_batch(rows)
        except BaseException as error:
            logger.error("the model thread died of %s; starting another", type(error).__name__)
            failure = Failure(f"the model thread died of {type(error).__name__}")
            self._settle(self._running, [failure] * len(self._running))
            self._batch_started = None
            with self._condition:
                if not self._is_stopped:
                    self._metrics.worker_restarts.inc()
                    self._thread = threading.Thread(target=self._run, name="rewardsmith-model", daemon=True)
                    self._thread.start()

    def _next_batch(self) -> list[_Row]:
        """Wait for work and take a batch of it. Gives nothing when stopped."""
        while True:
            with self._condition:
                while not self._waiting and not self._is_stopped:
                    self._condition.wait()
                if self._is_stopped:
                    return []
                is_lone = len(self._waiting) < 2
            if is_lone and self.limits.gather_seconds:
                time.sleep(self.limits.gather_seconds)
            with self._condition:
                self._waiting = [row for row in self._waiting if self._is_wanted(row)]
                window = self._waiting[:WINDOW]
            batch = choose(window, self.limits.tokens_per_batch, self._num_kept)
            taken = set(map(id, batch))
            with self._condition:
                self._waiting = [row for row in self._waiting if id(row) not in taken]
            if batch:
                return batch

    def _is_wanted(self, row: _Row) -> bool:
        return not row.job.dropped and time.monotonic() < row.job.deadline

    def _score_batch(self, rows: list[_Row]) -> None:
        self._running = rows
        started = self._batch_started = time.monotonic()
        outcomes = score_rows(self._scorer, [row.ids for row in rows])
        self._batch_started = None
        seconds = max(time.monotonic() - started, 1e-6)
        tokens = sum(len(row.ids) for row in rows)
        speed = tokens / seconds
        self._tokens_per_second = 0.8 * self._tokens_per_second + 0.2 * speed if self._tokens_per_second else speed
        if isinstance(counts := getattr(self._scorer, "prefix_counts", None), PrefixCounts):
            self._metrics.observe_prefixes(counts)
        self._metrics.observe_batch(len(rows), tokens, seconds, [started - row.arrived for row in rows])
        self._settle(rows, outcomes)
        self._running = []

    def _settle(self, rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> None:
        """Store outcomes; a job whose last row this is wakes its request."""
        self._metrics.observe_outcomes(outcomes)
        for row, outcome in zip(rows, outcomes, strict=True):
            row.job.outcomes[row.index] = outcome
            row.job.remaining -= 1
            if row.job.remaining == 0:
                _wake(row.job)


class Admission:
    """A request's place in the engine, given back when the `with` block ends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._deadline = time.monotonic() + engine.limits.deadline_seconds

    def __enter__(self) -> Admission:
        self._engine._num_requests += 1
        self._engine._metrics.queued_requests.set(self._engine._num_requests)
        return self

    def __exit__(self, *exception: object) -> None:
        self._engine._num_requests -= 1
        self._engine._metrics.queued_requests.set(self._engine._num_requests)

    async def score(self, rows: Sequence[Sequence[int]]) -> list[Outcome]:
        """Return one outcome per row of token ids. Raises Refusal 429, 413 or 504."""
        return await self.in_time(self._engine._score(rows, self._deadline)) if rows else []

    async def in_time(self, work: Awaitable[Result]) -> Result:
        """Wait for work of this request. Raises Refusal 504 at its deadline."""
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                return await work
        except TimeoutError:
            raise expired(self._engine.limits.deadline_seconds) from None


def _wake(job: _Job) -> None:
    """Hand a finished job to its event loop, from any thread; a loop that is gone needs nothing."""

    def resolve() -> None:
        if not job.future.done():
            job.future.set_result(job.outcomes)

    loop = job.future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
