"""Train a reward model: RewardConfig, the collator and RewardTrainer."""
