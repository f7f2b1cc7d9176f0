"""Proximal policy optimisation of a language model against a reward model, with the interface of TRL 1.12."""

from rewardsmith.rl.ppo.config import PPOConfig
from rewardsmith.rl.ppo.trainer import PPOTrainer

__all__ = ["PPOConfig", "PPOTrainer"]
