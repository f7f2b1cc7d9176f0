"""TRL: an async reward function for GRPOTrainer and RLOOTrainer. The policy's tokenizer may be another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rewardsmith.clients.client import ClientOptions, as_async_scorer, score_samples_async
from rewardsmith.records import Scorer


def trl_reward_function(
    source: str | Scorer,
    *,
    api_key: str | None = None,
    options: ClientOptions | None = None,
    clip: float | None = None,
    name: str = "reward_model",
) -> Callable[..., Awaitable[list[float]]]:
    """Make a function for TRL's `reward_funcs`.

    Args:
        source: the server's address, or a scorer in this process such as a RewardModel.
        api_key: for a server with keys.
        options: of the HTTP client, such as `normalized`.
        clip: rewards beyond plus or minus this are cut; None leaves them.
        name: under which TRL logs `rewards/<name>/mean`.

    Example:
        ```python
        trainer = GRPOTrainer(model=policy, reward_funcs=trl_reward_function("http://127.0.0.1:8000"), ...)
        ```
    """
    scorer = as_async_scorer(source, api_key, options)

    async def reward(prompts: list[Any], completions: list[Any], **columns: object) -> list[float]:
        rewards = await score_samples_async(scorer, prompts, completions)
        return rewards if clip is None else [min(max(value, -clip), clip) for value in rewards]

    reward.__name__ = reward.__qualname__ = name
    return reward
