"""OpenRLHF: give this file's path, or your own with `reward_func`, to `--reward.remote_url`.

Without a file, give `http://HOST:PORT/get_reward` (with keys: `http://any:KEY@HOST:PORT/get_reward`). This module's
own `reward_func` asks the server at $REWARDSMITH_URL. Queries are full texts, so tokenizers may differ only where
the chat templates are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from rewardsmith.clients.client import ClientOptions, as_scorer, score_samples
from rewardsmith.records import Scorer
from rewardsmith.scoring.scorer import probability

if TYPE_CHECKING:
    # OpenRLHF imports this file; it must load nothing beside httpx.
    from numpy.typing import ArrayLike

RewardFunction = Callable[..., dict[str, Any]]


def openrlhf_reward_function(
    source: str | Scorer | None = None, *, api_key: str | None = None, options: ClientOptions | None = None
) -> RewardFunction:
    """Make OpenRLHF's `reward_func(queries, prompts, labels)`.

    Args:
        source: the server's address or a scorer; None reads $REWARDSMITH_URL.
        api_key: for a server with keys; None reads $REWARDSMITH_API_KEY.
        options: of the HTTP client.
    """
    scorer = as_scorer(source, api_key, options)

    def reward_func(
        queries: Sequence[str], prompts: object = None, labels: object = None, **columns: object
    ) -> dict[str, Any]:
        rewards = score_samples(scorer, [""] * len(queries), list(queries))
        scores = [probability(reward) for reward in rewards]
        return {"rewards": rewards, "scores": scores, "extra_logs": {"raw_reward": rewards}}

    return reward_func


@cache
def _from_environment() -> RewardFunction:
    return openrlhf_reward_function()


def reward_func(queries: Sequence[str], prompts: object, labels: ArrayLike, **columns: object) -> dict[str, Any]:
    """Ask the server at $REWARDSMITH_URL; the function OpenRLHF looks for in a file. Raises ScoringError."""
    return _from_environment()(queries, prompts, labels, **columns)
