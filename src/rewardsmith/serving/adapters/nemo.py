"""NeMo-RL: see `rewardsmith.clients.nemo`."""

from rewardsmith.clients.nemo import NemoRewardEnvironment, StepResult

__all__ = ["NemoRewardEnvironment", "StepResult"]
