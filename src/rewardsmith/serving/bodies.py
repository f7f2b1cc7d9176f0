"""Request bodies: read within limits, their work bounded before it is done, parsed once.

A body is refused for its number of values before anything is made of it: parsing, checking and the objects
themselves cost by value, not by byte.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewardsmith.files.reading import keys_once
from rewardsmith.serving.limits import Refusal, ServerSettings, invalid, overloaded, too_large

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# One large body at a time is parsed and tokenised; smaller ones pass it by.
LARGE_BYTES = 2**20
# Parsed in a thread from here on.
THREAD_BYTES = 2**16
MAX_VALUES = 2**20
MAX_CONTAINERS = 2**17
MAX_NAMES = 2**18
MAX_DEPTH = 200
MAX_DIGITS = 100
DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
CHUNK = 2**20
# Of a body that is refused so much is still received, for so long.
MOST_DROPPED = 2**26
DROP_SECONDS = 5.0
QUOTE, BACKSLASH = ord('"'), ord("\\")


@dataclass(frozen=True, slots=True)
class Structure:
    """What stands outside of the texts of a JSON body.

    Args:
        values: numbers, texts and containers, at most.
        containers: lists and objects.
        names: keys of objects.
        depth: how deeply containers stand in each other.
    """

    values: int
    containers: int
    names: int
    depth: int = 0


class Held:
    """What one request holds of the room for bodies; given back whole, and once."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self.num_bytes = 0
        self._has_turn = False

    def grow(self, num_bytes: int) -> None:
        """Take more of the room. Raises Refusal 429 when all of it is taken."""
        if self._room.taken + num_bytes > self._room.size:
            raise overloaded(1.0)
        self._room.taken += num_bytes
        self.num_bytes += num_bytes

    async def take_turn(self, seconds: float) -> None:
        """Wait for the turn of a large body. Raises Refusal 429."""
        try:
            async with asyncio.timeout(seconds):
                await self._room.turn.acquire()
        except TimeoutError:
            raise overloaded(5.0) from None
        self._has_turn = True

    def end_turn(self) -> None:
        """Let the next large body be parsed."""
        if self._has_turn:
            self._has_turn = False
            self._room.turn.release()

    def release(self) -> None:
        """Give everything back."""
        self.end_turn()
        self._room.taken -= self.num_bytes
        self.num_bytes = 0


class BodyRoom:
    """The room that the bodies of all requests share, in bytes.

    Args:
        size: bytes of bodies in work at once.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self.turn = asyncio.Lock()


class Unread:
    """What is still to come of a request's body.

    Args:
        receive: the server's own.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Pass on what the server says."""
        message = await self._receive()
        self._is_read = not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read on and keep nothing, within limits, so that a client that sends first reads its answer afterwards."""
        num_bytes = 0
        try:
            async with asyncio.timeout(DROP_SECONDS):
                while not self._is_read and num_bytes < MOST_DROPPED:
                    num_bytes += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


async def read_body(
    headers: dict[str, str], receive: Receive, held: Held, settings: ServerSettings
) -> bytearray | None:
    """Read the whole body within its limits; None when the client left. Raises Refusal 413, 408 or 429."""
    limit = settings.max_body_bytes
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise too_large(f"the body has {declared[:20]} bytes and the limit is {limit}; split the request")
    try:
        async with asyncio.timeout(settings.body_timeout_seconds):
            return await _collect(receive, limit, held)
    except TimeoutError:
        seconds = settings.body_timeout_seconds
        raise Refusal(f"the body did not arrive within {seconds:g} s", 408, "slow_body") from None


async def _collect(receive: Receive, limit: int, held: Held) -> bytearray | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        if len(body) + len(part) > limit:
            raise too_large(f"the body is larger than {limit} bytes; split the request")
        held.grow(len(part))
        body += part
        if not message.get("more_body", False):
            return body


def is_json(content_type: str) -> bool:
    """Whether a content type names JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def parse_body(body: bytearray, held: Held, settings: ServerSettings) -> Any:
    """Parse a JSON body off the event loop where it is long. Raises Refusal 400, 413, 422 or 429."""
    max_values = max(MAX_VALUES, settings.limits.max_queued_tokens)
    if len(body) < THREAD_BYTES:
        return parse(body, max_values)
    if len(body) > LARGE_BYTES:
        await held.take_turn(settings.limits.deadline_seconds)
    return await asyncio.to_thread(parse, body, max_values)


def parse(body: bytes | bytearray, max_values: int = MAX_VALUES) -> Any:
    """Parse JSON in UTF-8 whose number of values is bounded first. Raises Refusal 400, 413 or 422."""
    check_structure(body, max_values)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"byte {error.start} is not UTF-8; send JSON in UTF-8") from None
    if has_lone_surrogate(body):
        raise invalid("the body holds a lone surrogate, which is no Unicode text; remove it")
    # Python's own reading of long numbers takes time by the square of their digits.
    has_long = LONG_NUMBER in body.translate(DIGITS)
    numbers: dict[str, Any] = {"parse_int": _short_integer, "parse_float": _short_float} if has_long else {}
    try:
        return json.loads(text, object_pairs_hook=_keys_once, **numbers)
    except json.JSONDecodeError as error:
        raise _unreadable(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _unreadable("it is nested too deeply") from None
    except ValueError:
        raise _unreadable("it holds a number of too many digits") from None


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return keys_once(pairs)
    except ValueError as error:
        raise _unreadable(str(error)) from None


def _short_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(digits[:MAX_DIGITS])
    return int(digits)


def _short_float(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        raise ValueError(digits[:MAX_DIGITS])
    return float(digits)


def _unreadable(why: str) -> Refusal:
    return Refusal(f"the body is no JSON that can be read: {why}", 400, "invalid_request")


def check_structure(body: bytes | bytearray, max_values: int = MAX_VALUES) -> None:
    """Refuse a body that would be too much work to parse. Raises Refusal 400 or 413."""
    containers = body.count(b"[") + body.count(b"{")
    rough = Structure(containers + body.count(b","), containers, body.count(b":"))
    if not _is_too_much(rough, max_values):
        return
    # Texts hold commas, too: only a body that might be too much is looked through with care.
    exact = measure_structure(body)
    if exact.depth > MAX_DEPTH:
        raise _unreadable("it is nested too deeply")
    if _is_too_much(exact, max_values):
        raise too_large(
            f"the body holds {exact.values} values, {exact.containers} of them lists and objects, and {exact.names} "
            f"names; the limits are {max_values}, {MAX_CONTAINERS} and {MAX_NAMES}; split the request"
        )


def _is_too_much(found: Structure, max_values: int) -> bool:
    return found.values > max_values or found.containers > MAX_CONTAINERS or found.names > MAX_NAMES


def measure_structure(body: bytes | bytearray) -> Structure:
    """Count what stands outside of texts, without parsing."""
    # What is left of escapes does not end a text any more.
    bare = bytes(body).replace(b"\\\\", b"").replace(b'\\"', b"")
    counts = np.zeros(256, dtype=np.int64)
    inside, level, depth = 0, 0, 0
    for start in range(0, len(bare), CHUNK):
        part = np.frombuffer(bare, np.uint8, min(CHUNK, len(bare) - start), start)
        in_text = (np.cumsum(part == QUOTE, dtype=np.uint8) + np.uint8(inside)) & 1
        inside = int(in_text[-1])
        outside = part[in_text == 0]
        counts += np.bincount(outside, minlength=256)
        steps = np.zeros(len(outside), dtype=np.int8)
        steps[(outside == ord("[")) | (outside == ord("{"))] = 1
        steps[(outside == ord("]")) | (outside == ord("}"))] = -1
        if len(steps):
            levels = np.cumsum(steps, dtype=np.int32)
            depth = max(depth, level + int(levels.max()))
            level += int(levels[-1])
    containers = int(counts[ord("[")] + counts[ord("{")])
    return Structure(containers + int(counts[ord(",")]), containers, int(counts[ord(":")]), depth)


def has_lone_surrogate(body: bytes | bytearray) -> bool:
    r"""Whether JSON's escapes name half a character: a \ud8xx without its \udcxx, or the reverse."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return False
    # Spaces in place of escaped backslashes, so that no two escapes become neighbours.
    data = np.frombuffer(bytes(body).replace(b"\\\\", b"  "), np.uint8)
    at = np.flatnonzero(data[:-5] == BACKSLASH)
    at = at[(data[at + 1] == ord("u")) & (data[at + 2] | 32 == ord("d"))]
    digit = data[at + 3] | 32
    high = at[(digit == ord("8")) | (digit == ord("9")) | (digit == ord("a")) | (digit == ord("b"))]
    low = at[(digit >= ord("c")) & (digit <= ord("f"))]
    return not np.array_equal(high + 6, low)
