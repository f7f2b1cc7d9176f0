"""The client of a reward server, and how adapters of other trainers ask it for the samples that they hold."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from rewardsmith.capabilities import Capabilities, Outcomes
from rewardsmith.clients.exchange import (
    KEY_VARIABLE,
    PROBE_SECONDS,
    Address,
    Answer,
    ClientOptions,
    Results,
    check_answer,
    cut_calls,
    frozen,
    key_headers,
    outcomes_body,
    pause_seconds,
    read_addresses,
    read_card,
    read_outcomes,
    read_rewards,
    reward_body,
    rotated,
    should_retry,
    shown_name,
)
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Scorer, ScoreRequest, as_text, text_key
from rewardsmith.scoring.answers import make_request
from rewardsmith.scoring.scorer import RewardParts

__all__ = ["AsyncRewardClient", "ClientOptions", "RewardClient"]


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
        self.options = options or ClientOptions()
        self._addresses = read_addresses(url)
        self.name = shown_name(self._addresses)
        self._http = httpx.Client(headers=key_headers(api_key), timeout=self.options.timeout_seconds)

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
        return read_card(self._call("GET", "/v1/models", None))

    def score(self, prompt: object, completions: Sequence[Any], *, return_parts: bool = False) -> list[Any]:
        """Return the rewards of K completions of one prompt: texts, lists of messages or tuples of token ids.

        `return_parts` gives a `RewardParts` instead of each number, as in process. Raises ScoringError.
        """
        request = [_request(prompt, completions)]
        return self.score_parts(request)[0] if return_parts else self.score_requests(request)[0]

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return one list per request with one reward per completion. Raises ScoringError."""
        return [rewards for result in self._ask(requests, self.options, False) for rewards in result.rewards]

    def score_parts(self, requests: Sequence[ScoreRequest], *, normalized: bool = False) -> list[list[RewardParts]]:
        """Return one list per request with the parts of every reward, normalised also where `options` do not say so.

        Raises:
            ScoringError: the server gave no such rewards.
        """
        options = replace(self.options, normalized=normalized or self.options.normalized)
        return [parts for result in self._ask(requests, options, True) for parts in result.parts]

    def outcome_probabilities(self, prompt: object, first: object, second: object) -> Outcomes:
        """Return the probabilities that the first answer is preferred, the second, and neither. Raises ScoringError."""
        body = outcomes_body(_request(prompt, [first, second]), self.options)
        return read_outcomes(self._call("POST", "/v1/reward", body))

    def _ask(self, requests: Sequence[ScoreRequest], options: ClientOptions, with_parts: bool) -> Iterator[Results]:
        for chunk in cut_calls(requests, options.completions_per_call):
            answer = self._call("POST", "/v1/reward", reward_body(chunk, options, with_parts))
            yield read_rewards(answer, chunk, options, with_parts)

    def _call(self, method: str, path: str, body: object) -> Any:
        for attempt in range(1, self.options.max_attempts + 1):
            answer = self._send(method, self._addresses[0], path, body)
            if not should_retry(answer) or attempt == self.options.max_attempts:
                return check_answer(answer, self._addresses[0].url, attempt)
            self._addresses = rotated(self._addresses)
            if pause := pause_seconds(answer, attempt, len(self._addresses)):
                time.sleep(pause)
        raise ConfigError(f"max_attempts must be at least 1, not {self.options.max_attempts}")

    def _send(self, method: str, address: Address, path: str, body: object) -> Answer:
        """Send once. While there is no answer the server's /health is asked, so that a frozen one costs seconds."""
        answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

        def send() -> None:
            try:
                answers.put(self._http.request(method, address.url + path, json=body, auth=address.auth))
            except Exception as error:
                answers.put(error)

        # A thread, since nothing ends a blocking read from outside; a frozen server's is left to its timeout.
        threading.Thread(target=send, name="rewardsmith-client", daemon=True).start()
        while True:
            try:
                answer = answers.get(timeout=self.options.patience_seconds)
            except queue.Empty:
                if self._lives(address):
                    continue
                return frozen(address)
            if isinstance(answer, Exception) and not isinstance(answer, httpx.RequestError):
                raise answer
            return answer

    def _lives(self, address: Address) -> bool:
        try:
            self._http.get(address.url + "/health", timeout=PROBE_SECONDS)
        except httpx.TransportError:
            return False
        return True


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
        self.options = options or ClientOptions()
        self._addresses = read_addresses(url)
        self.name = shown_name(self._addresses)
        self._headers = key_headers(api_key)
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
            return read_card(await self._call(http, "GET", "/v1/models", None))

    async def score(self, prompt: object, completions: Sequence[Any], *, return_parts: bool = False) -> list[Any]:
        """Return the rewards of K completions of one prompt, or a `RewardParts` for each. Raises ScoringError."""
        request = [_request(prompt, completions)]
        return (await (self.score_parts(request) if return_parts else self.score_requests(request)))[0]

    async def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return one list per request with one reward per completion. Raises ScoringError."""
        return [rewards for result in await self._ask(requests, False) for rewards in result.rewards]

    async def score_parts(self, requests: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
        """Return one list per request with the parts of every reward. Raises ScoringError."""
        return [parts for result in await self._ask(requests, True) for parts in result.parts]

    async def outcome_probabilities(self, prompt: object, first: object, second: object) -> Outcomes:
        """Return the probabilities that the first answer is preferred, the second, and neither. Raises ScoringError."""
        body = outcomes_body(_request(prompt, [first, second]), self.options)
        async with self._session() as http:
            return read_outcomes(await self._call(http, "POST", "/v1/reward", body))

    async def _ask(self, requests: Sequence[ScoreRequest], with_parts: bool) -> list[Results]:
        slots = asyncio.Semaphore(self.options.max_concurrent_calls)
        chunks = list(cut_calls(requests, self.options.completions_per_call))
        async with self._session() as http:

            async def ask(chunk: Sequence[ScoreRequest]) -> Results:
                async with slots:
                    answer = await self._call(http, "POST", "/v1/reward", reward_body(chunk, self.options, with_parts))
                return read_rewards(answer, chunk, self.options, with_parts)

            tasks = [asyncio.ensure_future(ask(chunk)) for chunk in chunks]
            try:
                return await asyncio.gather(*tasks)
            finally:
                # After a failure the other calls are of no use; they must end before the connections do.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, http: httpx.AsyncClient, method: str, path: str, body: object) -> Any:
        addresses = self._addresses
        for attempt in range(1, self.options.max_attempts + 1):
            answer = await self._send(http, method, addresses[0], path, body)
            if not should_retry(answer) or attempt == self.options.max_attempts:
                return check_answer(answer, addresses[0].url, attempt)
            # Later calls begin where this one goes next, whatever the calls beside it do.
            self._addresses = addresses = rotated(addresses)
            await asyncio.sleep(pause_seconds(answer, attempt, len(addresses)))
        raise ConfigError(f"max_attempts must be at least 1, not {self.options.max_attempts}")

    async def _send(self, http: httpx.AsyncClient, method: str, address: Address, path: str, body: object) -> Answer:
        """Send once. While there is no answer the server's /health is asked, so that a frozen one costs seconds."""
        call = asyncio.ensure_future(http.request(method, address.url + path, json=body, auth=address.auth))
        try:
            while not (await asyncio.wait({call}, timeout=self.options.patience_seconds))[0]:
                try:
                    await http.get(address.url + "/health", timeout=PROBE_SECONDS)
                except httpx.TransportError:
                    return frozen(address)
            return call.result()
        except httpx.RequestError as error:
            return error
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers=self._headers, timeout=self.options.timeout_seconds)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[httpx.AsyncClient]:
        """Give the open connections, or some for the time of one call."""
        if self._http is not None:
            yield self._http
            return
        async with self._open() as http:
            yield http


def _request(prompt: object, completions: Sequence[Any]) -> ScoreRequest:
    if isinstance(completions, str):
        raise ConfigError("completions is a list of texts or message lists; put a single text into a list")
    return make_request(prompt, completions)


Value = TypeVar("Value")
URL_VARIABLE = "REWARDSMITH_URL"


def as_scorer(source: str | Scorer | None, api_key: str | None = None, options: ClientOptions | None = None) -> Scorer:
    """Return a scorer for an address, or the scorer itself; None reads $REWARDSMITH_URL. Raises ConfigError."""
    if source is not None and not isinstance(source, str):
        return source
    return RewardClient(address(source), api_key or os.environ.get(KEY_VARIABLE), options)


def as_async_scorer(
    source: str | Scorer | None, api_key: str | None = None, options: ClientOptions | None = None
) -> Scorer | AsyncRewardClient:
    """Return an asyncio client for an address, or the scorer itself. Raises ConfigError."""
    if source is not None and not isinstance(source, str):
        return source
    return AsyncRewardClient(address(source), api_key or os.environ.get(KEY_VARIABLE), options)


def address(source: str | None) -> str:
    """Return the server's address, by default $REWARDSMITH_URL. Raises ConfigError when there is none."""
    url = source or os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(f"no reward server: set {URL_VARIABLE}, such as http://127.0.0.1:8000")
    return url


def group_samples(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    tools: Sequence[Any] | None = None,
    chat_template_kwargs: Sequence[Mapping[str, Any] | None] | None = None,
) -> tuple[list[ScoreRequest], list[list[int]]]:
    """Put samples of equal prompts into one request, so that the prompt travels and is computed once; `tools` and
    `chat_template_kwargs` have one value a sample, and samples with others are asked apart.

    Gives the requests and, for each, the sample numbers of its completions. Raises ScoringError for unequal counts.
    """
    if len(prompts) != len(completions):
        raise ScoringError(f"{len(prompts)} prompts for {len(completions)} completions")
    alone = [None] * len(prompts)
    settings = list(zip(tools or alone, chat_template_kwargs or alone, strict=True))
    parsed = [as_text(prompt, "prompt") if prompt else "" for prompt in prompts]
    members: dict[tuple[str, str], list[int]] = {}
    for number, prompt in enumerate(parsed):
        own = json.dumps(settings[number], sort_keys=True, default=str) if any(settings[number]) else ""
        members.setdefault((text_key(prompt), own), []).append(number)
    requests = [
        ScoreRequest(parsed[first], tuple(as_text(completions[n], "completion") for n in numbers), *settings[first])
        for numbers in members.values()
        for first in numbers[:1]
    ]
    return requests, list(members.values())


def in_sample_order(values: Sequence[Sequence[Value]], members: Sequence[Sequence[int]]) -> list[Value]:
    """Put what was found by group back into the order of the samples."""
    found = {
        n: value for row, numbers in zip(values, members, strict=True) for value, n in zip(row, numbers, strict=True)
    }
    return [found[number] for number in range(len(found))]


def score_samples(scorer: Scorer, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
    """Return one reward a sample. Raises ScoringError."""
    requests, members = group_samples(prompts, completions)
    return in_sample_order(scorer.score_requests(requests), members)


async def score_samples_async(
    scorer: Scorer | AsyncRewardClient,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    tools: Sequence[Any] | None = None,
) -> list[float]:
    """Return one reward a sample without blocking the loop; `tools` has one list a sample. Raises ScoringError."""
    requests, members = group_samples(prompts, completions, tools)
    if isinstance(scorer, AsyncRewardClient):
        rewards = await scorer.score_requests(requests)
    else:
        rewards = await asyncio.to_thread(scorer.score_requests, requests)
    return in_sample_order(rewards, members)
