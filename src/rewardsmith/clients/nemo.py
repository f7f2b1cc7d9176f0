"""NeMo-RL: an environment that scores finished conversations by a reward server, without a GPU of its own.

Name it in the config as any environment of yours, wrapped by `ray.remote`:
    RewardEnvironment = ray.remote(NemoRewardEnvironment)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from rewardsmith.clients.client import as_scorer, score_samples


class StepResult(NamedTuple):
    """The fields, in the order, of NeMo-RL's `EnvironmentReturn`."""

    observations: list[dict[str, str]]
    metadata: list[Any]
    next_stop_strings: list[Any]
    rewards: Any
    terminateds: Any
    answers: list[Any] | None = None


class NemoRewardEnvironment:
    """One step: every conversation gets its reward and ends.

    Args:
        config: `{"url": ..., "api_key": ...}`; without url $REWARDSMITH_URL is read.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        options = config or {}
        self._scorer = options.get("scorer") or as_scorer(options.get("url"), options.get("api_key"))

    def step(self, message_log_batch: Sequence[Sequence[Mapping[str, Any]]], metadata: list[Any]) -> StepResult:
        """Score message logs; their `token_ids` are the policy's and are not used. Raises ScoringError."""
        # NeMo-RL wants tensors, and torch is there wherever NeMo-RL is; serving itself does without.
        torch = import_module("torch")
        logs = [[{"role": m["role"], "content": m["content"]} for m in log] for log in message_log_batch]
        rewards = score_samples(self._scorer, [log[:-1] for log in logs], [log[-1:] for log in logs])
        return StepResult(
            observations=[{"role": "environment", "content": f"reward: {reward:.6f}"} for reward in rewards],
            metadata=metadata,
            next_stop_strings=[None] * len(rewards),
            rewards=torch.tensor(rewards, dtype=torch.float32),
            terminateds=torch.ones(len(rewards), dtype=torch.float32),
        )

    def global_post_process_and_metrics(self, batch: object) -> tuple[Any, dict[str, float]]:
        """Return the batch as it is and the mean of its `total_reward` column, when it has one."""
        totals = batch.get("total_reward") if hasattr(batch, "get") else None
        return batch, {} if totals is None else {"mean_reward": float(totals.mean())}
