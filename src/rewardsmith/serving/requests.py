"""From what a request says to token ids that the model can read; over-length is an error unless cutting is asked.

Tokenising has a thread of its own, which takes a sequence of each request in turn: a long request holds nobody up. One
thread: a fast tokenizer must not be used by two at once, and lets the event loop run while it works.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import RewardsmithError, ScoringError, TooLongError
from rewardsmith.models.steps import SolutionIds
from rewardsmith.models.templates import refused_options
from rewardsmith.records import Completion, ScoreRequest, Text, TokenIds
from rewardsmith.scoring.answers import MISSING, NO_ANSWER, NoAnswer, require_vocabulary
from rewardsmith.scoring.scorer import Fitted
from rewardsmith.serving.limits import Failure, Refusal, draining, invalid, too_large

# Characters of a text that are always looked at, and more of them for models that read more tokens. Runs of blanks,
# which tokenizers join best, have up to 64 characters a token in long texts.
SHORT_CHARACTERS = 2**18
CHARACTERS_PER_TOKEN = 64
UNLIMITED_TOKENS = 2**15
Build = Callable[[], Sequence[ScoreRequest]]
# What comes of a null in the place of an answer, whoever asks.
NOTHING_SENT = Failure(MISSING)
# Its present step is a single sequence, so the thread ends soon.
JOIN_SECONDS = 5.0


class ServedModel(Protocol):
    """What serving needs of a model; `rewardsmith.scoring.RewardModel` has it."""

    name: str
    tokenizer: Any
    contract: Any

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens; None when there is no end."""

    def encode(self, request: ScoreRequest, *, whole: bool = False) -> list[list[int]]:
        """Return the token ids of every full sequence of a request.

        Raises TooLongError for a text that certainly has more tokens than the model reads, unless `whole` is asked.
        """

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Return one reward per id sequence of every group."""


@runtime_checkable
class CutsPrompts(Protocol):
    """A model that can cut the start of prompts."""

    def fit(self, request: ScoreRequest, truncation: str | None = None, limit: int | None = None) -> Fitted:
        """Return token ids within what the model reads, with the start of the prompt cut where a text is too long."""


@dataclass(frozen=True, slots=True)
class EncodingLimits:
    """How much one HTTP request may hold."""

    max_sequences: int = 4096
    max_tokens: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Truncation:
    """The caller's explicit wish to cut long sequences: which end goes, and the length that stays.

    The side "prompt" cuts the prompt's oldest turns and then its start, as `score(truncation="truncate_prompt")` does.
    """

    side: Literal["left", "right", "prompt"] = "left"
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """The sequences of one HTTP request.

    Args:
        rows: token ids, one list a completion, in the order of the requests.
        sizes: how many completions each score request has.
        truncated: whether a row was cut.
        failures: why a completion has no reward, by its place; its row is empty.
    """

    rows: list[list[int]]
    sizes: list[int]
    truncated: list[bool]
    failures: dict[int, Failure] = field(default_factory=dict)


def encode_requests(
    model: ServedModel,
    requests: Sequence[ScoreRequest],
    truncation: Truncation | None,
    limits: EncodingLimits,
    partial: bool = False,
) -> Generator[None, None, Encoded]:
    """Render, tokenise and check, a completion a step; the generator returns what was encoded.

    A missing completion fails by itself, and with `partial` so does one that cannot be encoded.

    Raises Refusal 422 naming input and completion, or 413 for too many completions or tokens.
    """
    sizes = [len(request.completions) for request in requests]
    if sum(sizes) > limits.max_sequences:
        raise too_large(f"the request has {sum(sizes)} completions and the limit is {limits.max_sequences}; split it")
    rows: list[list[int]] = []
    cut: list[bool] = []
    failures: dict[int, Failure] = {}
    num_tokens = 0
    for number, request in enumerate(requests):
        _check_template_arguments(request, number)
        for part in (request.prompt, *(() if partial else request.completions)):
            _check_part(model, part, f"input {number}")
        for index, completion in enumerate(request.completions):
            row: list[int] = []
            is_cut = False
            try:
                if isinstance(completion, NoAnswer):
                    failures[len(rows)] = NOTHING_SENT if completion is NO_ANSWER else Failure(completion.reason)
                else:
                    _check_part(model, completion, f"input {number}")
                    alone = replace(request, completions=(completion,))
                    row, is_cut = _encode_checked(model, alone, truncation, f"input {number}, completion {index}")
            except Refusal as refusal:
                if not partial or refusal.status != 422:
                    raise
                failures[len(rows)] = Failure(str(refusal))
            num_tokens += len(row)
            if num_tokens > limits.max_tokens:
                raise too_large(f"the request has over {limits.max_tokens} tokens, more than the queue holds; split it")
            rows.append(row)
            cut.append(is_cut)
            yield
    return Encoded(rows, sizes, cut, failures)


def _encode_checked(
    model: ServedModel, request: ScoreRequest, truncation: Truncation | None, where: str
) -> tuple[list[int], bool]:
    """Tokenise one completion within the limits, and say whether it was cut. Raises Refusal 422."""
    _check_characters(model, request, where)
    row, is_cut = _encode(model, request, truncation, where)
    _check_length(row, model.max_length, where)
    return row, is_cut


def _encode(
    model: ServedModel, request: ScoreRequest, truncation: Truncation | None, where: str
) -> tuple[list[int], bool]:
    """Tokenise one completion, and say whether it was cut; what cannot be tokenised is the caller's error."""
    try:
        if truncation is not None and truncation.side == "prompt":
            if not isinstance(model, CutsPrompts):
                raise invalid(f"{model.name} cannot cut prompts; ask for left or right")
            fitted = model.fit(request, "truncate_prompt")
            return _as_ids(fitted.sequences[0]), fitted.cut[0]
        if truncation is None:
            return _as_ids(model.encode(request)[0]), False
        whole = _as_ids(model.encode(request, whole=True)[0])
    except Refusal:
        raise
    except TooLongError as error:
        if truncation is not None:
            raise invalid(f"{where}: {error}") from error
        limit = model.max_length
        text = f"{where} has {error.tokens} tokens and the model reads {limit}; shorten it, or ask for truncation"
        raise invalid(text) from error
    except RewardsmithError as error:
        raise invalid(f"{where}: {error}") from error
    except BaseException as error:
        # A tokenizer that panics raises no Exception; in this thread there is nothing else to let through.
        raise invalid(f"{where} cannot be rendered or tokenised ({type(error).__name__})") from error
    row = _cut(whole, model.max_length, truncation)
    if isinstance(whole, SolutionIds) and len(row) < len(whole):
        raise invalid(f"{where} has {len(whole)} tokens, and a solution is not cut inside its steps; leave steps out")
    return (row if len(row) < len(whole) else whole), len(row) < len(whole)


def _as_ids(ids: Sequence[int]) -> list[int]:
    """Return plain integers; ids of a step model stay as they are, for they know where steps end."""
    return ids if isinstance(ids, SolutionIds) else list(map(int, ids))


def _check_characters(model: ServedModel, request: ScoreRequest, where: str) -> None:
    """Refuse a text of so many messages or characters that not even cutting it is worth the work."""
    limit = model.max_length
    turns = sum(len(part) for part in (request.prompt, *request.completions) if _is_conversation(part))
    if turns > (limit or UNLIMITED_TOKENS):
        raise invalid(
            f"{where} has {turns} messages; a model that reads {limit or 'any number of'} tokens is given at most "
            f"{limit or UNLIMITED_TOKENS}"
        )
    count = sum(map(_num_characters, (request.prompt, *request.completions)))
    most = max(SHORT_CHARACTERS, CHARACTERS_PER_TOKEN * (limit or UNLIMITED_TOKENS))
    if count > most:
        raise invalid(
            f"{where} has {count} characters; a model that reads {limit or 'any number of'} tokens is given at most "
            f"{most}; shorten it"
        )


def _is_conversation(part: Text | Completion) -> bool:
    return not isinstance(part, str | TokenIds)


def _num_characters(part: Text | Completion) -> int:
    if isinstance(part, str):
        return len(part)
    if isinstance(part, TokenIds):
        return 0
    return sum(len(message.content if isinstance(message.content, str) else str(message.content)) for message in part)


def _check_template_arguments(request: ScoreRequest, number: int) -> None:
    """Raise Refusal for chat_template_kwargs that would leave the model's own rule."""
    if refused := refused_options(request.chat_template_kwargs or {}):
        raise invalid(
            f"input {number}: chat_template_kwargs may not hold {', '.join(refused)}: a reward is of a finished "
            "answer, by the model's rule"
        )


def _check_part(model: ServedModel, part: Text | Completion, where: str) -> None:
    """Raise Refusal for ids outside the vocabulary and for text that is no valid Unicode."""
    if isinstance(part, TokenIds):
        try:
            require_vocabulary(model, part)
        except ScoringError as error:
            raise invalid(f"{where}: {error}") from error
        return
    try:
        repr_bytes = part if isinstance(part, str) else "".join(str(message.content) for message in part)
        repr_bytes.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(f"{where} holds a lone surrogate, which is no Unicode text; remove it") from error


def _cut(ids: list[int], limit: int | None, truncation: Truncation) -> list[int]:
    keep = min(value for value in (limit, truncation.max_tokens, len(ids)) if value is not None)
    return ids[len(ids) - keep :] if truncation.side == "left" else ids[:keep]


def _check_length(ids: list[int], limit: int | None, where: str) -> None:
    if not ids:
        raise invalid(f"{where} has no tokens; send some text")
    if limit is not None and len(ids) > limit:
        raise invalid(
            f"{where} has {len(ids)} tokens and the model reads {limit}; shorten it by {len(ids) - limit}, "
            "or ask for truncation"
        )


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

    async def encode(self, build: Build, truncation: Truncation | None, partial: bool = False) -> Encoded:
        """Build the requests of a body and encode them. A caller that is cancelled takes its work along.

        Raises what `build` and `encode_requests` raise.
        """
        loop = asyncio.get_running_loop()
        work = _Work(self._steps(build, truncation, partial), loop.create_future(), loop)
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

    def _steps(self, build: Build, truncation: Truncation | None, partial: bool) -> Generator[None, None, Encoded]:
        requests = build()
        yield
        return (yield from encode_requests(self._model, requests, truncation, self._limits, partial))

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
