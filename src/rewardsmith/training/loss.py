"""The loss of an optimizer step: an objective, its regularisers, and what they are divided by.

Objectives do not reduce. Each term here is a (sum, denominator) pair; the trainer divides by the denominators of the
whole step, so that gradient accumulation and several processes do not change the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rewardsmith import objectives
from rewardsmith.objectives.comparisons import Comparisons

Term = tuple[Tensor, Tensor]


class StepLoss(torch.nn.Module):
    """Compute the terms of one micro-batch.

    Args:
        loss_type: a key of `objectives.LOSS_TYPES`.
        ties, label_smoothing, center, l2: as in RewardConfig.
    """

    def __init__(
        self,
        loss_type: str,
        ties: str = "half",
        label_smoothing: float = 0.0,
        center: float | None = None,
        l2: float | None = None,
    ) -> None:
        super().__init__()
        self.objective = objectives.LOSS_TYPES[loss_type]
        self.ties, self.label_smoothing = ties, label_smoothing
        self.center, self.l2 = center, l2
        self.threshold = None
        if self.objective.needs_threshold:
            self.threshold = torch.nn.Parameter(torch.tensor(float(self.objective.initial_threshold)))

    def terms(self, rewards_B: Tensor, comparisons: Comparisons) -> dict[str, Term]:
        """Give `name -> (sum, denominator)` of the objective and of the regularisers."""
        options: dict[str, Any] = {}
        if self.objective.smooths:
            options["label_smoothing"] = self.label_smoothing
        if self.threshold is not None:
            options["threshold"] = self.threshold
        terms = {"loss": self.objective.compute(rewards_B, comparisons, ties=self.ties, **options)}
        for name, coefficient, penalty in (
            ("center", self.center, objectives.centring),
            ("l2", self.l2, objectives.l2_on_rewards),
        ):
            if coefficient:
                total, count = objectives.mean_over_comparisons(penalty(rewards_B, comparisons), comparisons.weight_P)
                terms[name] = (coefficient * total, count)
        return terms

    def forward(self, rewards_B: Tensor, comparisons: Comparisons) -> Tensor:
        """Give the mean loss of a batch that is a step of its own."""
        return combine(self.terms(rewards_B, comparisons))


def combine(terms: dict[str, Term], denominators: dict[str, Any] | None = None) -> Tensor:
    """Add the terms, each over its own denominator or over that of the whole step."""
    loss = torch.zeros(())
    for name, (total, own) in terms.items():
        denominator = own if denominators is None else denominators[name]
        loss = loss.to(total.device) + total / torch.as_tensor(denominator, device=total.device).clamp_min(1e-12)
    return loss
