"""What a trainer logs: sums that are divided once, so that every comparison counts alike."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from rewardsmith.models.shared_prefix.packing import RewardBatch
from rewardsmith.objectives.comparisons import Comparisons


@dataclass
class RewardMetrics:
    """Accumulate metrics over batches; the names are TRL's, with ours beside them.

    Labels are read as everywhere (`Comparisons.judged`), and a name means what it means in evaluation: `accuracy` is
    over the comparisons that prefer a side, and equal rewards are half right (wrong in `accuracy_strict`);
    `label_tie_rate` is the share of comparisons that prefer none, `reward_tie_rate` that of equal rewards among the
    others.
    """

    comparisons: int = 0
    decided: int = 0
    correct: int = 0
    equal: int = 0
    margin: float = 0.0
    rewards: int = 0
    reward_sum: float = 0.0
    reward_squares: float = 0.0
    min_reward: float = math.inf
    max_reward: float = -math.inf
    loss_terms: dict[str, list[float]] = field(default_factory=dict)
    logical_tokens: int = 0
    distinct_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    def update(self, rewards_B: Tensor, comparisons: Comparisons, batch: RewardBatch) -> None:
        """Add one batch. Shapes: rewards_B (B,)."""
        rewards_B = rewards_B.detach().float()
        judged = comparisons.judged()
        difference_P = judged.differences(rewards_B)[~judged.is_tie_P]
        self.comparisons += len(judged)
        self.decided += len(difference_P)
        self.correct += int((difference_P > 0).sum())
        self.equal += int((difference_P == 0).sum())
        self.margin += float(difference_P.sum())
        self.rewards += len(rewards_B)
        self.reward_sum += float(rewards_B.sum())
        self.reward_squares += float((rewards_B.double() ** 2).sum())
        self.min_reward = min(self.min_reward, float(rewards_B.min()))
        self.max_reward = max(self.max_reward, float(rewards_B.max()))
        self.logical_tokens += batch.logical_tokens
        self.distinct_tokens += batch.distinct_tokens

    def add_loss(self, terms: Iterable[tuple[str, float, float]]) -> None:
        """Add the (name, sum, denominator) terms of one batch."""
        for name, total, denominator in terms:
            held = self.loss_terms.setdefault(name, [0.0, 0.0])
            held[0] += total
            held[1] += denominator

    def loss(self) -> float:
        """Give the mean loss over everything added; NaN when nothing was."""
        if not self.loss_terms:
            return math.nan
        return sum(total / denominator if denominator else 0.0 for total, denominator in self.loss_terms.values())

    def summary(self) -> dict[str, float]:
        """Give the logged names and values. An undefined metric is NaN."""
        mean = _divide(self.reward_sum, self.rewards)
        variance = max(0.0, _divide(self.reward_squares, self.rewards) - mean**2) if self.rewards else math.nan
        return {
            "accuracy": _divide(self.correct + 0.5 * self.equal, self.decided),
            "accuracy_strict": _divide(self.correct, self.decided),
            "margin": _divide(self.margin, self.decided),
            "min_reward": self.min_reward if self.rewards else math.nan,
            "mean_reward": mean,
            "max_reward": self.max_reward if self.rewards else math.nan,
            "std_reward": math.sqrt(variance),
            "label_tie_rate": _divide(self.comparisons - self.decided, self.comparisons),
            "reward_tie_rate": _divide(self.equal, self.decided),
            "num_comparisons": float(self.comparisons),
            "saving": _divide(self.logical_tokens, self.distinct_tokens),
            "distinct_tokens_per_second": _divide(self.distinct_tokens, time.perf_counter() - self.started),
        }


def _divide(total: float, count: float) -> float:
    return total / count if count else math.nan
