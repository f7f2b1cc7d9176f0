"""The logistic function, apart from the server so that adapters need none of its packages."""

from __future__ import annotations

import math


def probability(reward: float) -> float:
    """Give the logistic function of a reward, without overflow."""
    if reward >= 0:
        return 1 / (1 + math.exp(-reward))
    return math.exp(reward) / (1 + math.exp(reward)) if reward > -700 else 0.0
