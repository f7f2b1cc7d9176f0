"""Which items are judged first: by predictions of a reward model, so that few labels teach it much.

gap          largest difference of predicted rewards between two answers of the item
uncertainty  p(1 - p) of the least certain pair, with p = sigmoid of the difference
fisher       greedy gain in log det of the information about the last layer, sum of p(1 - p) x x', x the difference of
             two answers' features (Chernoff 1953; D-optimality), each pick given those before it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rewardsmith.errors import ConfigError

Order = Literal["random", "gap", "uncertainty", "fisher"]
Floats = NDArray[np.float64]
# The information that the prior holds: features are scaled to a mean square of 1.
PRIOR = 1.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """Rewards of an item's answers, one each, and for `fisher` their features. Shapes: rewards [K], features [K, D]."""

    rewards: Floats
    features: Floats | None = None


def order_values(order: Order, predictions: Sequence[Prediction], prior: float = PRIOR) -> list[float]:
    """Return one value an item; the highest comes first. Random order has 0 everywhere.

    Example:
        >>> order_values("gap", [Prediction(np.array([0.0, 3.0])), Prediction(np.array([0.0, 1.0]))])
        [3.0, 1.0]
    """
    if order == "random":
        return [0.0] * len(predictions)
    if order == "gap":
        return [float(np.ptp(one.rewards)) for one in predictions]
    if order == "uncertainty":
        return [max(_variance(abs(a - b)) for a, b in combinations(one.rewards, 2)) for one in predictions]
    if any(one.features is None for one in predictions):
        raise ConfigError("fisher needs the features of a reward model; name it with --model")
    return _fisher(predictions, prior)


def _variance(gap: float) -> float:
    p = float(expit(gap))
    return p * (1 - p)


def _fisher(predictions: Sequence[Prediction], prior: float) -> list[float]:
    """Pick items one after the other; the value of each is its gain when it was picked, so values fall."""
    rows, owners, weights = [], [], []
    for number, one in enumerate(predictions):
        assert one.features is not None
        for a, b in combinations(range(len(one.rewards)), 2):
            rows.append(one.features[a] - one.features[b])
            owners.append(number)
            weights.append(_variance(abs(one.rewards[a] - one.rewards[b])))
    x, owner, weight = np.array(rows, dtype=np.float64), np.array(owners), np.array(weights)
    scale = np.sqrt(np.mean(x**2)) or 1.0
    x = x / scale
    inverse = np.eye(x.shape[1]) / prior
    spread = np.einsum("pd,pd->p", x, x) / prior
    values, left = np.zeros(len(predictions)), np.ones(len(predictions), dtype=bool)
    for _ in range(len(predictions)):
        gains = np.bincount(owner, np.log1p(weight * spread), minlength=len(predictions))
        best = int(np.argmax(np.where(left, gains, -1.0)))
        values[best], left[best] = gains[best], False
        for pair in np.flatnonzero(owner == best):
            # Sherman and Morrison: what is known of one direction is known of all that share it.
            direction = inverse @ x[pair]
            factor = weight[pair] / (1 + weight[pair] * (x[pair] @ direction))
            inverse -= factor * np.outer(direction, direction)
            spread -= factor * (x @ direction) ** 2
        spread = np.maximum(spread, 0.0)
    return [float(value) for value in values]
