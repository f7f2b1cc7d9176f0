"""TRL: see `rewardsmith.clients.trl`."""

from rewardsmith.clients.trl import trl_reward_function

__all__ = ["trl_reward_function"]
