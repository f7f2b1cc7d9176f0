"""Choose how much of each source goes into a mixture: by cap or by weight, always the same groups for a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith.data.splitting import hash_share
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup, text_key


@dataclass(frozen=True, slots=True)
class Share:
    """One source's part of a mixture.

    Args:
        weight: its share of the mixture relative to the other weights; None takes all of it.
        cap: at most so many groups; None for no limit.
    """

    weight: float | None = None
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ConfigError(f"a weight must be above 0, not {self.weight}; leave the source out instead")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"a cap must be 1 or more, not {self.cap}; leave the source out instead")


def group_rank(group: PreferenceGroup, seed: int) -> float:
    """Give the number in [0, 1) by which groups are chosen: those with the lowest go into the mixture.

    It depends on prompt and completions only, so a larger cap adds groups and removes none.
    """
    return hash_share("\x1f".join([text_key(group.prompt), *map(text_key, group.completions)]), seed)


def plan_counts(sizes: Sequence[int], shares: Sequence[Share]) -> list[int]:
    """Give how many groups each source contributes.

    Caps come first. Among the sources with a weight, counts are in the ratio of the weights and as large as the
    scarcest of them allows, without taking any group twice. Sources without a weight give all they have.
    """
    limits = [size if share.cap is None else min(size, share.cap) for size, share in zip(sizes, shares, strict=True)]
    weighted = [limit / share.weight for limit, share in zip(limits, shares, strict=True) if share.weight]
    unit = min(weighted, default=0.0)
    return [
        limit if share.weight is None else min(limit, round(unit * share.weight))
        for limit, share in zip(limits, shares, strict=True)
    ]


def rank_threshold(ranks: Iterable[float], count: int) -> float:
    """Give the rank up to which (inclusive) `count` groups are taken; -1 for none."""
    values = np.fromiter(ranks, dtype=np.float64)
    if count <= 0 or not len(values):
        return -1.0
    return float(np.partition(values, min(count, len(values)) - 1)[min(count, len(values)) - 1])
