"""Train a reward model: RewardConfig, the collator and RewardTrainer."""

from rewardsmith.training.config import RewardConfig
from rewardsmith.training.trainer import RewardTrainer

__all__ = ["RewardConfig", "RewardTrainer"]
