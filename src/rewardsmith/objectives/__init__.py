"""Objectives: pure, unreduced loss functions in fp32, one family a file."""
