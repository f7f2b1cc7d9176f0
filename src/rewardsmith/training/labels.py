"""What the labels of training rows hold beside their order, and what an objective reads of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rewardsmith.errors import listed
from rewardsmith.objectives import OBJECTIVES

logger = logging.getLogger(__name__)
# Of `encoding.label_columns`.
Columns = Mapping[str, Sequence[float]]
# Column of encoded rows -> how it is called, and whether a value says anything.
SAYING: dict[str, tuple[str, Callable[[float], bool]]] = {
    "margin": ("margins", bool),
    "weight": ("weights", lambda weight: weight not in (0.0, 1.0)),
    "probability": ("soft labels", lambda probability: probability not in (0.0, 0.5, 1.0)),
}


def tie_share(columns: Columns) -> float:
    """Return the share of ties among the comparisons, where a tie model's threshold starts; 0.1 for a stream."""
    ties = columns.get("tie_share") or columns.get("is_tie")
    return sum(ties) / len(ties) if ties else 0.1


def log_objective(loss_type: str, columns: Columns) -> float:
    """Say what is minimised, the range of margins, and what the objective does not read; returns the share of ties."""
    reads = OBJECTIVES[loss_type].reads
    margins = [margin for margin in columns.get("margin", ()) if margin]
    spread = "no margins"
    if margins and "margin" in reads:
        spread = f"margins from {min(margins):g} to {max(margins):g} in units of the reward (logits)"
    elif margins:
        spread = "which reads no margins"
    elif "margin" not in columns:
        spread = "margins unknown"
    logger.info("objective %s, %s", loss_type, spread)
    found = Counter({name: sum(map(says, columns.get(name, ()))) for name, (_, says) in SAYING.items()})
    unread = [name for name in SAYING if found[name] and name not in reads]
    if unread:
        told = ", ".join(f"{SAYING[name][0]} of {found[name]:,}" for name in unread)
        others = [name for name, other in OBJECTIVES.items() if set(unread) <= set(other.reads)]
        logger.warning(
            "%s does not read the %s comparisons: they train as if there were none; loss_type %s read them",
            *(loss_type, told, listed(others, len(others))),
        )
    return tie_share(columns)
