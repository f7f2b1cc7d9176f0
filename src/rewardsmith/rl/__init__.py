"""Optimise a policy against a reward: reward functions, best-of-n, GRPO and RLOO, rounds of judgements."""
