"""Agreement over labels: verdicts of people and of rewards on a pair, and Cohen's kappa (Cohen 1960)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import prompt_clusters
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Resampling, bootstrap_mean


def verdicts(item: ScoredGroup) -> tuple[int, int]:
    """Give people's and the rewards' verdict on a pair: 1 the first answer, -1 the second, 0 a tie or equal rewards."""
    comparison = item.group.comparisons[0]
    people = 0 if comparison.is_tie else 1 if comparison.better == 0 else -1
    margin = item.rewards[0] - item.rewards[1]
    return people, (margin > 0) - (margin < 0)


def three_way_accuracy(scored: Sequence[ScoredGroup], people: Sequence[int], how: Resampling) -> Estimate:
    """Give how often the rewards give people's verdict, one of three, on a pair."""
    same = [float(verdicts(item)[1] == verdict) for item, verdict in zip(scored, people, strict=True)]
    return bootstrap_mean(same, prompt_clusters(scored), how.resamples, how.seed)


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> Estimate:
    """Give Cohen's kappa of two sides' labels with the number of pairs; NaN without pairs or when neither side varies.

    Example:
        >>> cohen_kappa([("a", "a"), ("b", "b"), ("a", "b"), ("b", "b")]).value
        0.5
    """
    if not pairs:
        return Estimate(math.nan, 0)
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    ones, others = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(count * others[label] for label, count in ones.items()) / n**2
    return Estimate((observed - chance) / (1 - chance) if chance < 1 else math.nan, n)
