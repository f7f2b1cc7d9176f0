"""What the labels of training rows hold beside their order, and what an objective reads of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from datasets import Dataset

from rewardsmith.errors import listed
from rewardsmith.objectives import OBJECTIVES

logger = logging.getLogger(__name__)
# Column of encoded rows -> how it is called, and whether a value says anything.
SAYING: dict[str, tuple[str, Callable[[float], bool]]] = {
    "margin": ("margins", bool),
    "weight": ("weights", lambda weight: weight not in (0.0, 1.0)),
    "probability": ("soft labels", lambda probability: probability not in (0.0, 0.5, 1.0)),
}


def tie_share(dataset: object) -> float:
    """Return the share of ties among the comparisons, where a tie model's threshold starts; 0.1 for a stream."""
    ties = list(_values(dataset, "is_tie"))
    return sum(ties) / len(ties) if ties else 0.1


def log_objective(loss_type: str, dataset: object) -> None:
    """Say what is minimised, the range of the margins, and what the rows hold that the objective does not read."""
    reads = OBJECTIVES[loss_type].reads
    margins = [margin for margin in _values(dataset, "margin") if margin]
    spread = "no margins"
    if margins and "margin" in reads:
        spread = f"margins from {min(margins):g} to {max(margins):g} in units of the reward (logits)"
    elif margins:
        spread = "which reads no margins"
    elif not isinstance(dataset, Dataset) or "margin" not in dataset.column_names:
        spread = "margins unknown"
    logger.info("objective %s, %s", loss_type, spread)
    found = Counter({name: sum(map(says, _values(dataset, name))) for name, (_, says) in SAYING.items()})
    unread = [name for name in SAYING if found[name] and name not in reads]
    if unread:
        told = ", ".join(f"{SAYING[name][0]} of {found[name]:,}" for name in unread)
        others = [name for name, other in OBJECTIVES.items() if set(unread) <= set(other.reads)]
        logger.warning(
            "%s does not read the %s comparisons: they train as if there were none; loss_type %s read them",
            *(loss_type, told, listed(others, len(others))),
        )


def _values(dataset: object, name: str) -> Iterator[Any]:
    """Yield a column of encoded rows, one value a comparison; nothing for a stream."""
    if isinstance(dataset, Dataset) and name in dataset.column_names:
        for row in dataset[name]:
            yield from row if isinstance(row, list) else [row]
