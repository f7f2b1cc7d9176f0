"""What held-out judgements say of a model that was just trained, beside the two rules of length.

The numbers are those of `evaluate`, by the same names, without its strata and calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.evaluation.baselines import RULES
from rewardsmith.evaluation.judged import ScoredGroup, rescore
from rewardsmith.evaluation.metrics import measure
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling

METRICS = ("accuracy", "accuracy_strict", "margin", "label_tie_rate", "reward_tie_rate")
BASELINES = ("longest", "shortest")


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Metrics of a model on held-out judgements, and the accuracy of rules that read no meaning on the same rows."""

    metrics: dict[str, Estimate]
    baselines: dict[str, Estimate]

    @property
    def accuracy(self) -> Estimate:
        """The share of judgements that prefer a side and are put in order; equal rewards count half."""
        return self.metrics["accuracy"]

    def best_baseline(self) -> str:
        """Return the name of the rule with the highest accuracy; which one wins differs from data to data."""
        return max(self.baselines, key=lambda name: (self.baselines[name].value, name))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = {name: estimate.to_dict() for name, estimate in self.metrics.items()}
        return {**plain, "baselines": {name: estimate.to_dict() for name, estimate in self.baselines.items()}}


def evaluate_held_out(
    groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]], how: Resampling | None = None
) -> HeldOutResult:
    """Hold rewards against held-out judgements.

    Args:
        rewards: one reward per completion of each group.
    """
    how = how or Resampling()
    scored = [ScoredGroup(group, tuple(map(float, row))) for group, row in zip(groups, rewards, strict=True)]
    baselines = {name: measure(rescore(scored, RULES[name]), how, ["accuracy"])["accuracy"] for name in BASELINES}
    return HeldOutResult(measure(scored, how, METRICS), baselines)
