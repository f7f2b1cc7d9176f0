"""Held-out accuracy beside what needs no model: 'longer wins' and 'majority'."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewardsmith.records import Comparison, Completion, Estimate, PreferenceGroup, TokenIds, as_plain, text_key

# Points of a comparison: 1 right, 0 wrong, 0.5 undecided.
Judge = Callable[[PreferenceGroup, Comparison], float]


@dataclass(frozen=True)
class HeldOutResult:
    """What held-out comparisons say. Accuracies are over the comparisons that prefer a side."""

    accuracy: Estimate
    tie_rate: Estimate
    longer_wins: Estimate
    majority: Estimate

    def to_dict(self) -> dict[str, dict[str, float | int | None]]:
        """Give plain numbers for JSON."""
        return {name: estimate.to_dict() for name, estimate in vars(self).items()}


def evaluate_held_out(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]]) -> HeldOutResult:
    """Compare rewards with held-out judgements.

    Args:
        rewards: one reward per completion of each group.
    """
    by_group = {id(group): row for group, row in zip(groups, rewards, strict=True)}

    def model(group: PreferenceGroup, edge: Comparison) -> float:
        row = by_group[id(group)]
        return _points(row[edge.better] - row[edge.worse])

    ties = [[float(edge.is_tie) for edge in group.comparisons] for group in groups]
    return HeldOutResult(
        accuracy=_accuracy(groups, model),
        tie_rate=clustered_mean(ties),
        longer_wins=_accuracy(groups, _longer_wins),
        majority=_majority(groups),
    )


def clustered_mean(values: Sequence[Sequence[float]]) -> Estimate:
    """Give the mean of all values with a 95% interval that knows that values of one prompt go together.

    A Wilson interval (1927) whose number of observations is the effective one: what the linearised variance of the
    ratio of cluster totals leaves of n, or the number of clusters where all values agree. NaN without values.
    """
    clusters = [row for row in values if row]
    n = sum(map(len, clusters))
    if n == 0:
        return Estimate(math.nan, 0)
    mean = sum(map(sum, clusters)) / n
    if len(clusters) < 2:
        return Estimate(mean, n)
    residuals = sum((sum(row) - mean * len(row)) ** 2 for row in clusters)
    variance = residuals * len(clusters) / (len(clusters) - 1) / n**2
    effective = min(float(n), mean * (1 - mean) / variance) if variance else float(len(clusters))
    z2 = 1.96**2 / effective
    center = (mean + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * mean * (1 - mean) + z2**2 / 4) / (1 + z2)
    return Estimate(mean, n, max(0.0, center - half), min(1.0, center + half))


def _accuracy(groups: Sequence[PreferenceGroup], judge: Judge) -> Estimate:
    return clustered_mean([[judge(g, edge) for edge in g.comparisons if not edge.is_tie] for g in groups])


def _points(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _longer_wins(group: PreferenceGroup, edge: Comparison) -> float:
    return _points(text_length(group.completions[edge.better]) - text_length(group.completions[edge.worse]))


def text_length(completion: Completion) -> int:
    """Give the length in characters of a text or of all messages; in tokens for token ids."""
    if isinstance(completion, str | TokenIds):
        return len(completion)
    return sum(len(str(message["content"])) for message in as_plain(completion) if isinstance(message, dict))


def _majority(groups: Sequence[PreferenceGroup]) -> Estimate:
    """Guess the side that wins most often. Sides are ordered by a hash: files list the chosen answer first."""
    first = [[_is_first(g, edge) for edge in g.comparisons if not edge.is_tie] for g in groups]
    estimate = clustered_mean(first)
    if estimate.n == 0 or estimate.value >= 0.5:
        return estimate
    return clustered_mean([[1 - value for value in row] for row in first])


def _is_first(group: PreferenceGroup, edge: Comparison) -> float:
    better, worse = (_hash(group.completions[i]) for i in (edge.better, edge.worse))
    return float(better < worse)


def _hash(completion: Completion) -> bytes:
    return hashlib.sha256(text_key(completion).encode("utf-8", "surrogatepass")).digest()
