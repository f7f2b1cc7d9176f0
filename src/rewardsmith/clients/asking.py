"""What the adapters share: an address or a scorer, and samples put together by prompt."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any, TypeVar

from rewardsmith.clients.client import AsyncRewardClient, ClientOptions, RewardClient
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Scorer, ScoreRequest, as_text, text_key

Value = TypeVar("Value")
URL_VARIABLE = "REWARDSMITH_URL"
KEY_VARIABLE = "REWARDSMITH_API_KEY"


def as_scorer(source: str | Scorer | None, api_key: str | None = None, options: ClientOptions | None = None) -> Scorer:
    """Give a scorer for an address, or the scorer itself; None reads $REWARDSMITH_URL. Raises ConfigError."""
    if source is not None and not isinstance(source, str):
        return source
    return RewardClient(address(source), api_key or os.environ.get(KEY_VARIABLE), options)


def as_async_scorer(
    source: str | Scorer | None, api_key: str | None = None, options: ClientOptions | None = None
) -> Scorer | AsyncRewardClient:
    """Give an asyncio client for an address, or the scorer itself. Raises ConfigError."""
    if source is not None and not isinstance(source, str):
        return source
    return AsyncRewardClient(address(source), api_key or os.environ.get(KEY_VARIABLE), options)


def address(source: str | None) -> str:
    """Give the server's address, by default $REWARDSMITH_URL. Raises ConfigError when there is none."""
    url = source or os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(f"no reward server: set {URL_VARIABLE}, such as http://127.0.0.1:8000")
    return url


def group_samples(
    prompts: Sequence[Any], completions: Sequence[Any], tools: Sequence[Any] | None = None
) -> tuple[list[ScoreRequest], list[list[int]]]:
    """Put samples of equal prompts into one request, so that the prompt travels and is computed once; `tools` has one
    list a sample, and samples of other tools are asked apart.

    Gives the requests and, for each, the sample numbers of its completions. Raises ScoringError for unequal counts.
    """
    if len(prompts) != len(completions):
        raise ScoringError(f"{len(prompts)} prompts for {len(completions)} completions")
    members: dict[tuple[str, str], list[int]] = {}
    parsed = [as_text(prompt, "prompt") if prompt else "" for prompt in prompts]
    for number, prompt in enumerate(parsed):
        key = (text_key(prompt), json.dumps(tools[number], sort_keys=True, default=str) if tools else "")
        members.setdefault(key, []).append(number)
    requests = [
        ScoreRequest(
            parsed[numbers[0]],
            tuple(as_text(completions[n], "completion") for n in numbers),
            tools[numbers[0]] if tools else None,
        )
        for numbers in members.values()
    ]
    return requests, list(members.values())


def in_sample_order(values: Sequence[Sequence[Value]], members: Sequence[Sequence[int]]) -> list[Value]:
    """Put what was found by group back into the order of the samples."""
    found = {
        n: value for row, numbers in zip(values, members, strict=True) for value, n in zip(row, numbers, strict=True)
    }
    return [found[number] for number in range(len(found))]


def score_samples(scorer: Scorer, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
    """Give one reward a sample. Raises ScoringError."""
    requests, members = group_samples(prompts, completions)
    return in_sample_order(scorer.score_requests(requests), members)


async def score_samples_async(
    scorer: Scorer | AsyncRewardClient, prompts: Sequence[Any], completions: Sequence[Any]
) -> list[float]:
    """Give one reward a sample without blocking the event loop. Raises ScoringError."""
    requests, members = group_samples(prompts, completions)
    if isinstance(scorer, AsyncRewardClient):
        rewards = await scorer.score_requests(requests)
    else:
        rewards = await asyncio.to_thread(scorer.score_requests, requests)
    return in_sample_order(rewards, members)
