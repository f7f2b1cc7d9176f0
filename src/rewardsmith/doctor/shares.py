"""Shares with an interval, for the checks of data: groups are the unit, as judgements of a prompt go together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """A share over n groups with Wilson's 95% interval (Wilson 1927); NaN without groups."""

    value: float
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n} groups)"


def share_of(groups: Iterable[Sequence[float]]) -> Share:
    """Give the mean over groups of the mean of each group's values in [0, 1]; empty groups do not count."""
    means = [sum(values) / len(values) for values in groups if values]
    n = len(means)
    if n == 0:
        return Share(math.nan, 0, math.nan, math.nan)
    value = sum(means) / n
    z2 = 1.96**2 / n
    centre = (value + z2 / 2) / (1 + z2)
    half = math.sqrt(max(0.0, z2 * value * (1 - value) + z2 * z2 / 4)) / (1 + z2)
    return Share(value, n, max(0.0, centre - half), min(1.0, centre + half))


def points(difference: float) -> float:
    """Give 1 for above 0, 0 for below, 1/2 for equal."""
    return 0.5 if difference == 0 else float(difference > 0)
