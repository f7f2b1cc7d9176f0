"""Score texts with a trained reward model."""

from rewardsmith.scoring.reward_model import RewardModel

__all__ = ["RewardModel"]
