"""Clients of a reward server, for one thread and for asyncio. Both are scorers, both fail loudly.

A call is tried again when the server was busy, restarting or unreachable: after the server's Retry-After, else
after a growing, random pause. Everything else is raised at once with the server's own message.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Capabilities, ScoreRequest, as_plain
from rewardsmith.scoring.scorer import RewardParts, make_request

RETRIED = frozenset({408, 425, 429, 502, 503, 504})
MAX_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client asks.

    Args:
        timeout_seconds: of one HTTP call.
        max_attempts: how often a call is tried in all.
        completions_per_call: larger work is cut into several calls, never inside one prompt.
        max_concurrent_calls: of the asyncio client.
        normalized: ask for rewards by the contract's mean and standard deviation.
        truncate: ask that long sequences are cut at this end, or that only the start of their "prompt" is; None lets
            them fail.
    """

    timeout_seconds: float = 180.0
    max_attempts: int = 6
    completions_per_call: int = 64
    max_concurrent_calls: int = 16
    normalized: bool = False
    truncate: Literal["left", "right", "prompt"] | None = None


class RewardClient:
    """Score over HTTP from one thread. It is a `rewardsmith.records.Scorer`.

    Args:
        url: of the server, such as `http://127.0.0.1:8000`; several with commas between them are replicas, and
            when one is busy or gone the next is asked.
        api_key: sent as a Bearer token.
        options: how to ask.

    Example:
        ```python
        with RewardClient("http://127.0.0.1:8000") as client:
            client.score("What is 2 + 2?", ["4", "5"])
        ```
    """

    # A server says what each reward is made of; which ids its model knows is not asked.
    capabilities = Capabilities(gives_parts=True)

    def __init__(self, url: str, api_key: str | None = None, options: ClientOptions | None = None) -> None:
        self.name = url
        self.options = options or ClientOptions()
        self._addresses = _addresses(url)
        self._http = httpx.Client(headers=_headers(api_key), timeout=self.options.timeout_seconds)

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Trainers keep an adapter for as long as they live and never close it.
        if hasattr(self, "_http"):
            self._http.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def model_card(self) -> dict[str, Any]:
        """Ask which model is served and by which rule it scores."""
        return self._call("GET", "/v1/models", None)["data"][0]

    def score(self, prompt: Any, completions: Sequence[Any], *, return_parts: bool = False) -> list[Any]:
        """Give the rewards of K completions of one prompt: texts, lists of messages or tuples of token ids.

        `return_parts` gives a `RewardParts` instead of each number, as in process. Raises ScoringError.
        """
        request = [_request(prompt, completions)]
        return self.score_parts(request)[0] if return_parts else self.score_requests(request)[0]

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Give one list per request with one reward per completion. Raises ScoringError."""
        return [rewards for result in self._ask(requests, False) for rewards in result.rewards]

    def score_parts(self, requests: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
        """Give one list per request with the parts of every reward. Raises ScoringError."""
        return [parts for result in self._ask(requests, True) for parts in result.parts]

    def _ask(self, requests: Sequence[ScoreRequest], with_parts: bool) -> Iterator[_Results]:
        for chunk in _chunks(requests, self.options.completions_per_call):
            answer = self._call("POST", "/v1/reward", _body(chunk, self.options, with_parts))
            yield _read(answer, chunk, self.options, with_parts)

    def _call(self, method: str, path: str, body: Any) -> Any:
        for attempt in range(1, self.options.max_attempts + 1):
            answer: httpx.Response | httpx.TransportError
            try:
                answer = self._http.request(method, self._addresses[0] + path, json=body)
            except httpx.TransportError as error:
                answer = error
            if not _should_retry(answer) or attempt == self.options.max_attempts:
                return _checked(answer, self._addresses[0], attempt)
            self._addresses = _rotated(self._addresses)
            if pause := _pause_seconds(answer, attempt, len(self._addresses)):
                time.sleep(pause)
        raise ConfigError(f"max_attempts must be at least 1, not {self.options.max_attempts}")


class AsyncRewardClient:
    """Score over HTTP from asyncio, several calls at a time.

    Inside `async with` the connections stay open. Outside of it every call opens and closes its own, so that one
    client serves any event loop and leaves nothing behind.

    Args:
        url: of the server, or of several replicas with commas between them.
        api_key: sent as a Bearer token.
        options: how to ask.
    """

    def __init__(self, url: str, api_key: str | None = None, options: ClientOptions | None = None) -> None:
        self.name = url
        self.options = options or ClientOptions()
        self._addresses = _addresses(url)
        self._api_key = api_key
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> AsyncRewardClient:
        self._http = self._open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def model_card(self) -> dict[str, Any]:
        """Ask which model is served and by which rule it scores."""
        async with self._session() as http:
            return (await self._call(http, "GET", "/v1/models", None))["data"][0]

    async def score(self, prompt: Any, completions: Sequence[Any], *, return_parts: bool = False) -> list[Any]:
        """Give the rewards of K completions of one prompt, or a `RewardParts` for each. Raises ScoringError."""
        request = [_request(prompt, completions)]
        return (await (self.score_parts(request) if return_parts else self.score_requests(request)))[0]

    async def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Give one list per request with one reward per completion. Raises ScoringError."""
        return [rewards for result in await self._ask(requests, False) for rewards in result.rewards]

    async def score_parts(self, requests: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
        """Give one list per request with the parts of every reward. Raises ScoringError."""
        return [parts for result in await self._ask(requests, True) for parts in result.parts]

    async def _ask(self, requests: Sequence[ScoreRequest], with_parts: bool) -> list[_Results]:
        slots = asyncio.Semaphore(self.options.max_concurrent_calls)
        chunks = list(_chunks(requests, self.options.completions_per_call))
        async with self._session() as http:

            async def ask(chunk: Sequence[ScoreRequest]) -> _Results:
                async with slots:
                    answer = await self._call(http, "POST", "/v1/reward", _body(chunk, self.options, with_parts))
                return _read(answer, chunk, self.options, with_parts)

            tasks = [asyncio.ensure_future(ask(chunk)) for chunk in chunks]
            try:
                return await asyncio.gather(*tasks)
            finally:
                # After a failure the other calls are of no use; they must end before the connections do.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, http: httpx.AsyncClient, method: str, path: str, body: Any) -> Any:
        addresses = self._addresses
        for attempt in range(1, self.options.max_attempts + 1):
            answer: httpx.Response | httpx.TransportError
            try:
                answer = await http.request(method, addresses[0] + path, json=body)
            except httpx.TransportError as error:
                answer = error
            if not _should_retry(answer) or attempt == self.options.max_attempts:
                return _checked(answer, addresses[0], attempt)
            # Later calls begin where this one goes next, whatever the calls beside it do.
            self._addresses = addresses = _rotated(addresses)
            await asyncio.sleep(_pause_seconds(answer, attempt, len(addresses)))
        raise ConfigError(f"max_attempts must be at least 1, not {self.options.max_attempts}")

    def _open(self) -> httpx.AsyncClient:
        headers, seconds = _headers(self._api_key), self.options.timeout_seconds
        return httpx.AsyncClient(headers=headers, timeout=seconds)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[httpx.AsyncClient]:
        """Give the open connections, or some for the time of one call."""
        if self._http is not None:
            yield self._http
            return
        async with self._open() as http:
            yield http


def _addresses(urls: str) -> tuple[str, ...]:
    """Read the addresses of one or more replicas. Raises ConfigError."""
    addresses = tuple(url.strip().rstrip("/") for url in urls.split(","))
    for url in addresses:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"a server's address starts with http:// or https://, not {url[:40]!r}")
    return addresses


def _rotated(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return (*addresses[1:], addresses[0])


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def _request(prompt: Any, completions: Sequence[Any]) -> ScoreRequest:
    if isinstance(completions, str):
        raise ConfigError("completions is a list of texts or message lists; put a single text into a list")
    return make_request(prompt, completions)


def _chunks(requests: Sequence[ScoreRequest], size: int) -> Iterator[list[ScoreRequest]]:
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


def _body(requests: Sequence[ScoreRequest], options: ClientOptions, with_parts: bool) -> dict[str, Any]:
    """Build the body of `/v1/reward`."""
    inputs = []
    for request in requests:
        item: dict[str, Any] = {"completions": [as_plain(completion) for completion in request.completions]}
        item["prompt"] = as_plain(request.prompt) or ""
        if request.tools is not None:
            item["tools"] = list(request.tools)
        if request.chat_template_kwargs is not None:
            item["chat_template_kwargs"] = dict(request.chat_template_kwargs)
        inputs.append(item)
    body: dict[str, Any] = {"inputs": inputs, "normalized": options.normalized, "truncate": options.truncate}
    return {**body, "return_parts": True} if with_parts else body


@dataclass(frozen=True, slots=True)
class _Results:
    """What one call gave; `parts` is empty unless asked for."""

    rewards: list[list[float]]
    parts: list[list[RewardParts]]


def _read(
    answer: Mapping[str, Any], requests: Sequence[ScoreRequest], options: ClientOptions, with_parts: bool
) -> _Results:
    """Read the rewards and check that they are what was asked for. Raises ScoringError."""
    rewards = [result["rewards"] for result in answer["results"]]
    if [len(values) for values in rewards] != [len(request.completions) for request in requests]:
        raise ScoringError("the server gave another number of rewards than it was asked for")
    if answer.get("normalized") != options.normalized:
        raise ScoringError(f"the server answered normalized={answer.get('normalized')}, asked {options.normalized}")
    if not all(isinstance(value, float | int) and math.isfinite(value) for values in rewards for value in values):
        raise ScoringError("the server gave a reward that is not a finite number")
    checked = [[float(value) for value in values] for values in rewards]
    if not with_parts:
        return _Results(checked, [])
    parts = [[_read_parts(entry) for entry in result.get("parts") or ()] for result in answer["results"]]
    if [[part.reward for part in row] for row in parts] != checked:
        raise ScoringError("the server gave no parts, or others than its rewards; is it older than this client?")
    return _Results(checked, parts)


def _read_parts(entry: Mapping[str, Any]) -> RewardParts:
    """Read what one reward is made of; null, which JSON has in place of NaN, becomes NaN again."""

    def number(value: Any) -> float:
        return math.nan if value is None else float(value)

    return RewardParts(
        reward=number(entry["reward"]),
        spread=number(entry["spread"]),
        members=tuple(map(number, entry["members"])),
        attributes={name: number(value) for name, value in entry["attributes"].items()},
        steps=tuple(map(number, entry["steps"])),
    )


def _should_retry(answer: httpx.Response | httpx.TransportError) -> bool:
    return isinstance(answer, httpx.TransportError) or answer.status_code in RETRIED


def _pause_seconds(answer: httpx.Response | httpx.TransportError, attempt: int, num_addresses: int = 1) -> float:
    """Give the server's Retry-After with up to a quarter on top, else half a second doubled each time, jittered.

    With replicas there is no pause before each was asked, then one a round.
    """
    if attempt % num_addresses:
        return 0.0
    attempt //= num_addresses
    if isinstance(answer, httpx.Response):
        given = answer.headers.get("retry-after", "")
        if given.isdigit():
            return min(float(given), MAX_PAUSE_SECONDS) * random.uniform(1.0, 1.25)
    return min(0.5 * 2 ** (attempt - 1), MAX_PAUSE_SECONDS) * random.uniform(0.5, 1.0)


def _checked(answer: httpx.Response | httpx.TransportError, name: str, attempts: int) -> Any:
    """Give the JSON of a success. Raises ScoringError with the server's message otherwise."""
    if isinstance(answer, httpx.TransportError):
        raise ScoringError(f"{name} cannot be reached after {attempts} attempts: {type(answer).__name__}") from answer
    try:
        body = answer.json()
    except ValueError as error:
        raise ScoringError(f"{name} answered {answer.status_code} without JSON; is it a reward server?") from error
    if answer.status_code == 200:
        return body
    problem = body.get("error") if isinstance(body, dict) else None
    message = problem.get("message") if isinstance(problem, dict) else problem
    raise ScoringError(f"{name} answered {answer.status_code} after {attempts} attempts: {message}")
