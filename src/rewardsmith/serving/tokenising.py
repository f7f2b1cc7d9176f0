"""Tokenising in a thread of its own, a sequence of each request in turn: a long request holds nobody up.

One thread: a fast tokenizer must not be used by two at once, and lets the event loop run while it works.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from rewardsmith.records import ScoreRequest
from rewardsmith.serving.refusals import Refusal, draining
from rewardsmith.serving.requests import Encoded, EncodingLimits, ServedModel, Truncation, encode_requests

Build = Callable[[], Sequence[ScoreRequest]]
# Its present step is a single sequence, so the thread ends soon.
JOIN_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class _Work:
    """One request: the steps that are left, and where its outcome goes."""

    steps: Generator[None, None, Encoded]
    future: asyncio.Future[Encoded]
    loop: asyncio.AbstractEventLoop


class Tokeniser:
    """The thread that turns requests into token ids.

    Args:
        model: its encode is called by this thread only.
        limits: of one request.
    """

    def __init__(self, model: ServedModel, limits: EncodingLimits) -> None:
        self._model = model
        self._limits = limits
        self._condition = threading.Condition()
        self._waiting: deque[_Work] = deque()
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    async def encode(self, build: Build, truncation: Truncation | None) -> Encoded:
        """Build the requests of a body and encode them. A caller that is cancelled takes its work along.

        Raises what `build` and `encode_requests` raise.
        """
        loop = asyncio.get_running_loop()
        work = _Work(self._steps(build, truncation), loop.create_future(), loop)
        with self._condition:
            if self._is_stopped:
                raise draining()
            self._waiting.append(work)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="rewardsmith-tokenise", daemon=True)
                self._thread.start()
            self._condition.notify()
        return await work.future

    def stop(self) -> None:
        """End the thread after its present step."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout=JOIN_SECONDS)

    def _steps(self, build: Build, truncation: Truncation | None) -> Generator[None, None, Encoded]:
        requests = build()
        yield
        return (yield from encode_requests(self._model, requests, truncation, self._limits))

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._is_stopped:
                    self._condition.wait()
                if self._is_stopped:
                    return
                work = self._waiting.popleft()
            if work.future.cancelled():
                work.steps.close()
            elif not _is_finished(work):
                with self._condition:
                    self._waiting.append(work)


def _is_finished(work: _Work) -> bool:
    """Take one step; whether it was the last. Nothing that a request does may end the thread."""
    try:
        next(work.steps)
    except StopIteration as end:
        _settle(work, end.value)
    except BaseException as error:
        unknown = RuntimeError(f"tokenising raised {type(error).__name__}")
        _settle(work, error if isinstance(error, Refusal) else unknown)
    else:
        return False
    return True


def _settle(work: _Work, outcome: Encoded | Exception) -> None:
    """Hand the outcome to the request's event loop; one that is gone needs nothing."""

    def resolve() -> None:
        if work.future.done():
            return
        if isinstance(outcome, Exception):
            work.future.set_exception(outcome)
        else:
            work.future.set_result(outcome)

    if not work.loop.is_closed():
        work.loop.call_soon_threadsafe(resolve)
