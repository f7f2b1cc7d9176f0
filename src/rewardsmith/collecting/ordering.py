"""Which items come first: by predictions of a reward model, so that few labels teach it much.

gap          largest difference of predicted rewards between two answers of the item
uncertainty  p(1 - p) of the least certain pair, with p = sigmoid of the difference
fisher       greedy gain in log det of the information about the last layer, sum of p(1 - p) x x', x the difference of
             two answers' features (Chernoff 1953; D-optimality), each pick given those before it

The value stands with the item and is recorded with every judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from scipy.special import expit

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.exporting import JudgedItem, load_items
from rewardsmith.collecting.project import Order
from rewardsmith.collecting.store import Store, log_event
from rewardsmith.errors import ConfigError, DataError

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


def open_items(store: Store) -> list[JudgedItem]:
    """Return the items that still have an open seat."""
    open_seats = sa.select(t.slot.c.item_id).where(t.slot.c.state == "open")
    with store.transaction() as connection:
        numbers = set(connection.execute(open_seats).scalars())
    return [item for item in load_items(store, ("real",)) if item.item_id in numbers]


def rated_predictions(items: Sequence[JudgedItem], rating: str) -> list[Prediction]:
    """Return predictions from a rating that came along with the import. Raises DataError where it is missing."""
    found = []
    for item in items:
        row = (item.info.get("ratings") or {}).get(rating)
        if row is None or any(value is None for value in row):
            known = sorted((items[0].info.get("ratings") or {}) if items else {})
            raise DataError(
                f"item {item.item_id} has no complete rating {rating!r}; it has: {', '.join(known) or 'none'}"
            )
        found.append(Prediction(np.array(row, dtype=np.float64)))
    return found


def apply_order(store: Store, order: Order, values: Mapping[int, float], actor: str = "command line") -> None:
    """Write the order of open items; leases and what was judged stay as they are."""
    with store.transaction() as connection:
        for item_id, value in values.items():
            changed = {"priority": value, "order_name": order}
            connection.execute(sa.update(t.item).where(t.item.c.id == item_id).values(**changed))
            seats = (t.slot.c.item_id == item_id, t.slot.c.state.in_(("open", "closed")))
            connection.execute(sa.update(t.slot).where(*seats).values(place=-value))
        log_event(connection, actor, "order", order, items=len(values))
