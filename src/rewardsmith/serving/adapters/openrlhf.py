"""OpenRLHF: see `rewardsmith.clients.openrlhf`."""

from rewardsmith.clients.openrlhf import openrlhf_reward_function, reward_func

__all__ = ["openrlhf_reward_function", "reward_func"]
