"""Held-out accuracy beside what needs no model: 'longer wins' and 'majority'. Intervals are those of evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewardsmith.records import Comparison, Completion, Estimate, PreferenceGroup, TokenIds, as_plain, text_key
from rewardsmith.stats.intervals import bootstrap_mean

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
        tie_rate=_clustered_mean(groups, ties),
        longer_wins=_accuracy(groups, _longer_wins),
        majority=_majority(groups),
    )


def _clustered_mean(groups: Sequence[PreferenceGroup], values: Sequence[Sequence[float]]) -> Estimate:
    """Give the mean of all values with an interval that resamples whole prompts; a group without one is its own."""
    keys = [text_key(group.prompt) or f"\x00empty {index}" for index, group in enumerate(groups)]
    clusters = [key for key, row in zip(keys, values, strict=True) for _ in row]
    return bootstrap_mean([value for row in values for value in row], clusters)


def _accuracy(groups: Sequence[PreferenceGroup], judge: Judge) -> Estimate:
    return _clustered_mean(groups, [[judge(g, edge) for edge in g.comparisons if not edge.is_tie] for g in groups])


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
    estimate = _clustered_mean(groups, first)
    if estimate.n == 0 or estimate.value >= 0.5:
        return estimate
    return _clustered_mean(groups, [[1 - value for value in row] for row in first])


def _is_first(group: PreferenceGroup, edge: Comparison) -> float:
    better, worse = (_hash(group.completions[i]) for i in (edge.better, edge.worse))
    return float(better < worse)


def _hash(completion: Completion) -> bytes:
    return hashlib.sha256(text_key(completion).encode("utf-8", "surrogatepass")).digest()
