"""What a client sends and how it reads the answer; addresses of servers, and whether they live.

What trainers hold of a conversation, messages, calls and tools, is sent as the chat messages that templates read.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from rewardsmith.capabilities import Outcomes
from rewardsmith.errors import ConfigError, DataError, ScoringError, UnreachableError, describe
from rewardsmith.records import ScoreRequest, as_plain
from rewardsmith.scoring.answers import is_missing
from rewardsmith.scoring.scorer import RewardParts

RETRIED = frozenset({408, 425, 429, 502, 503, 504})
MAX_PAUSE_SECONDS = 30.0
PROBE_SECONDS = 2.0
KEY_VARIABLE = "REWARDSMITH_API_KEY"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# No server was reached, or what it sent cannot be decoded, beside an answer.
Answer = httpx.Response | httpx.RequestError


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client asks.

    Args:
        timeout_seconds: of one HTTP call.
        patience_seconds: a call that takes longer is kept only while the server's /health answers within two seconds.
        max_attempts: how often a call is tried in all.
        completions_per_call: larger work is cut into several calls, never inside one prompt.
        max_concurrent_calls: of the asyncio client.
        normalized: ask for rewards by the contract's mean and standard deviation.
        truncate: ask that long sequences are cut at this end, or that only the start of their "prompt" is; None lets
            them fail.
        partial: ask for None in place of an error where an answer cannot be read or scored. None among the answers is
            one that is missing and has None in any case.
    """

    timeout_seconds: float = 180.0
    patience_seconds: float = 5.0
    max_attempts: int = 6
    completions_per_call: int = 64
    max_concurrent_calls: int = 16
    normalized: bool = False
    truncate: Literal["left", "right", "prompt"] | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. The key that its address may hold is apart, so that no message shows it."""

    url: str
    auth: tuple[str, str] | None = None


def read_addresses(urls: str) -> tuple[Address, ...]:
    """Read the addresses of one or more replicas, with commas between them. Raises ConfigError."""
    return tuple(_read_address(url.strip().rstrip("/")) for url in urls.split(","))


def _read_address(url: str) -> Address:
    shown = CONTROL.sub(" ", re.sub(r"[^/]*@", "", url))[:60]
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"a server's address starts with http:// or https://, not {shown!r}")
    try:
        parts = urlsplit(url)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(f"{shown!r} is no address of a server") from error
    user, at, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    plain = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    return Address(plain, (unquote(name), unquote(password)) if at else None)


def shown_name(addresses: Sequence[Address]) -> str:
    """Return the addresses as they stand in reports and messages."""
    return ",".join(address.url for address in addresses)


def rotated(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return the addresses with the first one last."""
    return (*addresses[1:], addresses[0])


def frozen(address: Address) -> httpx.TransportError:
    """Return the error of a server that accepts connections and answers nothing."""
    return httpx.ReadTimeout(f"{address.url} does not answer /health within {PROBE_SECONDS:g} s")


def key_headers(api_key: str | None) -> dict[str, str]:
    """Return the headers that carry a key. Raises ConfigError for one that no header can carry."""
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the API key holds a character that no header can carry; is it the key of the server?")
    return {"Authorization": f"Bearer {key}"} if key else {}


def cut_calls(requests: Sequence[ScoreRequest], size: int) -> Iterator[list[ScoreRequest]]:
    """Cut requests, in order, into calls of about `size` completions."""
    chunk: list[ScoreRequest] = []
    count = 0
    for request in requests:
        if chunk and count + len(request.completions) > size:
            yield chunk
            chunk, count = [], 0
        chunk.append(request)
        count += len(request.completions)
    if chunk:
        yield chunk


def reward_body(requests: Sequence[ScoreRequest], options: ClientOptions, with_parts: bool) -> dict[str, Any]:
    """Build the body of `/v1/reward`."""
    inputs = []
    for request in requests:
        item: dict[str, Any] = {"completions": [None if is_missing(c) else as_plain(c) for c in request.completions]}
        item["prompt"] = as_plain(request.prompt) or ""
        if request.tools is not None:
            item["tools"] = list(request.tools)
        if request.chat_template_kwargs is not None:
            item["chat_template_kwargs"] = dict(request.chat_template_kwargs)
        inputs.append(item)
    body: dict[str, Any] = {"inputs": inputs, "normalized": options.normalized, "truncate": options.truncate}
    body |= {"partial": True} if options.partial else {}
    return {**body, "return_parts": True} if with_parts else body


def outcomes_body(request: ScoreRequest, options: ClientOptions) -> dict[str, Any]:
    """Build the body that asks how a comparison of two completions ends."""
    return {**reward_body([request], options, False), "return_probabilities": True}


def read_outcomes(answer: Mapping[str, Any]) -> Outcomes:
    """Read how the comparison of one input ends. Raises ScoringError."""
    try:
        found = answer["results"][0]["probabilities"]
        return Outcomes(float(found["first"]), float(found["second"]), found["tie"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ScoringError("the server gave no probabilities; is it older than this client?") from error


@dataclass(frozen=True, slots=True)
class Results:
    """What one call gave; `parts` is empty unless asked for."""

    rewards: list[list[Any]]  # None, where that was asked for, in the place of a number
    parts: list[list[Any]]


def read_rewards(
    answer: Mapping[str, Any], requests: Sequence[ScoreRequest], options: ClientOptions, with_parts: bool
) -> Results:
    """Read the rewards and check that they are what was asked for. Raises ScoringError."""
    try:
        return _read_rewards(answer, requests, options, with_parts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ScoringError("the server's answer has another form than rewards; is it the right server?") from error


def read_card(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Read the first model of `/v1/models`. Raises ScoringError."""
    try:
        return dict(answer["data"][0])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ScoringError("the server's answer names no model; is it the right server?") from error


def _read_rewards(
    answer: Mapping[str, Any], requests: Sequence[ScoreRequest], options: ClientOptions, with_parts: bool
) -> Results:
    rewards = [result["rewards"] for result in answer["results"]]
    if [len(values) for values in rewards] != [len(request.completions) for request in requests]:
        raise ScoringError("the server gave another number of rewards than it was asked for")
    if answer.get("normalized") != options.normalized:
        raise ScoringError(f"the server answered normalized={answer.get('normalized')}, asked {options.normalized}")
    for values, request in zip(rewards, requests, strict=True):
        for value, completion in zip(values, request.completions, strict=True):
            if not (_is_reward(value) or (value is None and (options.partial or is_missing(completion)))):
                raise ScoringError("the server gave a reward that is not a finite number")
    checked = [[None if value is None else float(value) for value in values] for values in rewards]
    if not with_parts:
        return Results(checked, [])
    parts = [
        [None if entry is None else _read_parts(entry) for entry in result.get("parts") or ()]
        for result in answer["results"]
    ]
    if [[None if part is None else part.reward for part in row] for row in parts] != checked:
        raise ScoringError("the server gave no parts, or others than its rewards; is it older than this client?")
    return Results(checked, parts)


def _is_reward(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _read_parts(entry: Mapping[str, Any]) -> RewardParts:
    """Read what one reward is made of; null, which JSON has in place of NaN, becomes NaN again."""

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    return RewardParts(
        reward=number(entry["reward"]),
        spread=number(entry["spread"]),
        members=tuple(map(number, entry["members"])),
        attributes={name: number(value) for name, value in entry["attributes"].items()},
        steps=tuple(map(number, entry["steps"])),
    )


def should_retry(answer: Answer) -> bool:
    """Whether the server was busy, restarting or out of reach."""
    if isinstance(answer, httpx.RequestError):
        return isinstance(answer, httpx.TransportError)
    return answer.status_code in RETRIED


def pause_seconds(answer: Answer, attempt: int, num_addresses: int = 1) -> float:
    """Return the server's Retry-After with up to a quarter on top, else half a second doubled each time, jittered.

    With replicas there is no pause before each was asked, then one a round.
    """
    if attempt % num_addresses:
        return 0.0
    attempt //= num_addresses
    if isinstance(answer, httpx.Response):
        given = answer.headers.get("retry-after", "")
        if given.isascii() and given.isdigit():
            return min(float(given), MAX_PAUSE_SECONDS) * random.uniform(1.0, 1.25)
    return min(0.5 * 2 ** (attempt - 1), MAX_PAUSE_SECONDS) * random.uniform(0.5, 1.0)


def check_answer(answer: Answer, name: str, attempts: int) -> Any:
    """Return the JSON of a success.

    Raises:
        UnreachableError: no answer, or one that says that the server is busy; waiting may help.
        ScoringError: the server's message otherwise.
    """
    if isinstance(answer, httpx.TransportError):
        raise UnreachableError(
            f"{name} cannot be reached after {attempts} attempts: {type(answer).__name__}"
        ) from answer
    if isinstance(answer, httpx.RequestError):
        raise ScoringError(f"{name} answered what cannot be decoded; is it the right server?") from answer
    kind = UnreachableError if answer.status_code in RETRIED else ScoringError
    try:
        body = answer.json()
    except (ValueError, RecursionError) as error:
        # A proxy before a server that restarts answers in HTML.
        if kind is UnreachableError:
            raise kind(f"{name} answered {answer.status_code} after {attempts} attempts, without JSON") from error
        raise ScoringError(f"{name} answered {answer.status_code} without JSON; is it the right server?") from error
    if answer.status_code == 200:
        return body
    problem = body.get("error") if isinstance(body, dict) else None
    message = problem.get("message") if isinstance(problem, dict) else problem
    # It may quote data and ends in a terminal.
    message = CONTROL.sub(" ", str(message))[:1000].encode("utf-8", "replace").decode()
    raise kind(f"{name} answered {answer.status_code} after {attempts} attempts: {message}")


Messages = list[dict[str, Any]]
# Templates leave out the reasoning of earlier turns, and no template reads what providers sign.
UNREAD = frozenset({"reasoning_content", "thinking_blocks", "provider_state"})


def last_turn(messages: Sequence[dict[str, Any]], where: str) -> tuple[Messages, Messages]:
    """Return what stands before the last assistant turn, and that turn. Raises DataError where there is none."""
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        raise DataError(f"{where} has neither a message nor a call of the assistant; there is nothing to score")
    return list(messages[: turns[-1]]), [messages[turns[-1]]]


def chat_messages(messages: Sequence[object], where: str) -> Messages:
    """Return messages, objects of pydantic or dictionaries, as dictionaries; flat tool calls get their function."""
    found = []
    for number, given in enumerate(messages):
        message = _plain(given)
        if "role" not in message:
            raise DataError(f"{where}[{number}] must be a message with a role, not {describe(given)}")
        kept = {key: value for key, value in message.items() if value is not None and key not in UNREAD}
        if calls := kept.get("tool_calls"):
            plain = [_plain(call) for call in calls]
            kept["tool_calls"] = [call if "function" in call else chat_call(call, call.get("id")) for call in plain]
        found.append({"content": "", **kept})
    return found


def chat_call(call: Mapping[str, Any], call_id: object) -> dict[str, Any]:
    """Return a call as a chat message holds it; its arguments are an object, which templates read, where they parse."""
    arguments = call.get("arguments")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        parsed = arguments
    function = {"name": call.get("name"), "arguments": parsed if isinstance(parsed, Mapping) else arguments}
    return {"type": "function", "id": call_id, "function": function}


def chat_tool(tool: object) -> dict[str, Any]:
    """Return a flat tool as chat templates read it; one that holds its function is as it is."""
    plain = _plain(tool)
    if "function" in plain:
        return plain
    return {"type": "function", "function": {k: plain[k] for k in ("name", "description", "parameters") if k in plain}}


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else {}
