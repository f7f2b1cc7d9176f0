"""verl: `reward.custom_reward_function.path` is this file, `.name` is `compute_score`.

verl gives a reward function the answer but not its prompt, so the data set must carry the prompt (text or messages)
in `extra_info["prompt"]`. The answer is text, so the policy's tokenizer may be another one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any

from rewardsmith.clients.client import AsyncRewardClient, ClientOptions, as_async_scorer, score_samples_async
from rewardsmith.errors import DataError
from rewardsmith.records import Scorer

PROMPT_KEYS = ("prompt", "raw_prompt", "question")


def verl_compute_score(
    source: str | Scorer | None = None, *, api_key: str | None = None, options: ClientOptions | None = None
) -> Callable[..., Awaitable[float]]:
    """Make verl's async `compute_score`.

    Args:
        source: the server's address or a scorer; None reads $REWARDSMITH_URL.
        api_key: for a server with keys; None reads $REWARDSMITH_API_KEY.
        options: of the HTTP client.
    """
    scorer = as_async_scorer(source, api_key, options)

    return partial(compute_score, scorer=scorer)


def _prompt(extra_info: Mapping[str, Any] | None) -> Any:
    for key in PROMPT_KEYS:
        value = (extra_info or {}).get(key)
        if value is not None and len(value):
            return value if isinstance(value, str) else [dict(message) for message in value]
    raise DataError(f"extra_info has no prompt under {', '.join(PROMPT_KEYS)}; put the prompt there in the data set")


@cache
def _from_environment() -> Scorer | AsyncRewardClient:
    return as_async_scorer(None)


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object = None,
    extra_info: Mapping[str, Any] | None = None,
    *,
    scorer: Scorer | AsyncRewardClient | None = None,
    **columns: object,
) -> float:
    """Ask a scorer, by default the server at $REWARDSMITH_URL; the function verl looks for in a file.

    Raises:
        ScoringError: the server gives no reward.
        DataError: `extra_info` holds no prompt.
    """
    asked = _from_environment() if scorer is None else scorer
    return (await score_samples_async(asked, [_prompt(extra_info)], [solution_str]))[0]
