"""The loss of judged steps as a sum with its denominator, the labels of a batch, and what is logged of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import ModelOutput

from rewardsmith.evaluation.steps import JudgedSolution, measure_steps
from rewardsmith.models.shared_prefix.packing import RewardBatch
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.steps import RIGHT, WRONG
from rewardsmith.objectives.steps import step_cross_entropy
from rewardsmith.training.loss import RewardMetrics, Term
from rewardsmith.training.steps.encoding import UNJUDGED, solutions_of
from rewardsmith.training.steps.settings import STEPS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepLabels:
    """The labels of the steps of a batch.

    Args:
        label_S: probability that a step is right; -1 where nobody judged.
        solution_S: of which solution each step is, numbered through the batch.
        group_S: of which question.
        judged: how many have a label.
    """

    label_S: Tensor
    solution_S: Tensor
    group_S: Tensor
    judged: int

    def __len__(self) -> int:
        return self.judged

    def to(self, device: torch.device) -> StepLabels:
        """Move the labels to a device."""
        return replace(self, label_S=self.label_S.to(device))


@dataclass(frozen=True)
class StepCollator:
    """Collate encoded groups into `{"batch": RewardBatch, "comparisons": StepLabels}`.

    Args:
        plan: how the model computes.
        tokens_per_chunk: tokens of one forward whose memory is held at a time.
    """

    plan: ForwardPlan
    tokens_per_chunk: int | None = None

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        places = [list(solution.places) for example in examples for solution in solutions_of(example)]
        solutions = [number for number, own in enumerate(places) for _ in own]
        labels = torch.tensor([label for example in examples for label in example["label"]])
        groups = [number for number, example in enumerate(examples) for _ in example["label"]]
        batch = self.plan.batch([example["ids"] for example in examples], self.tokens_per_chunk, places)
        judged = int((labels != UNJUDGED).sum())
        return {
            "batch": batch,
            "comparisons": StepLabels(labels, torch.tensor(solutions), torch.tensor(groups), judged),
        }


class StepLabelLoss(torch.nn.Module):
    """Compute the loss of one micro-batch, as `StepLoss` does for comparisons."""

    threshold = None
    optimizer: torch.optim.Optimizer | None = None

    def __init__(self) -> None:
        super().__init__()
        self._noted = False

    def asking(self, batch: RewardBatch, labels: StepLabels) -> tuple[RewardBatch, StepLabels]:
        """Return the batch as it is."""
        return batch, labels

    def terms_of_output(self, output: ModelOutput, labels: StepLabels, draws_GH: object = None) -> dict[str, Term]:
        """Return the sum over the judged steps and their number."""
        is_judged_S = labels.label_S != UNJUDGED
        losses_S = step_cross_entropy(output["logits"][is_judged_S], labels.label_S[is_judged_S])
        return {"loss": (losses_S.sum(), torch.tensor(float(len(labels))))}

    def totals(self, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """Return what a step is divided by: the judged steps of its micro-batches, as they were collated."""
        return {"loss": float(sum(len(batch["comparisons"]) for batch in batches))}

    def note_start(self, log_odds_S: Tensor, labels: StepLabels) -> None:
        """Log the first loss beside that of equal classes, once."""
        if not self._noted and len(labels):
            self._noted = True
            judged_S = labels.label_S != UNJUDGED
            odds_S = log_odds_S.detach()[judged_S]
            columns_SC = torch.stack([torch.zeros_like(odds_S), odds_S], dim=1)
            first = float(step_cross_entropy(columns_SC, labels.label_S[judged_S]).mean())
            logger.info("the first loss is %.3f, that of equal classes %.3f", first, math.log(2))

    def state(self) -> dict[str, Any]:
        """Return what the objective is, for JSON."""
        return {"loss_type": STEPS}

    def moments(self) -> dict[str, Any]:
        """Return nothing: it has no parameters."""
        return {}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Take nothing up: it has no parameters."""

    def join(self, optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
        """Give nothing to the optimizer."""
        return []


def log_odds(columns_SC: Tensor) -> Tensor:
    """Return the log odds that each step is right. Shapes: [S, 2] -> [S]."""
    return columns_SC[:, RIGHT] - columns_SC[:, WRONG]


@dataclass
class StepMetrics(RewardMetrics):
    """Accumulate metrics of steps over batches; evaluation also keeps every solution.

    `accuracy` is over the steps whose label says right or wrong; a step counts as right where its probability is above
    1/2, as in TRL. `label_right_rate` is the share of right steps among them, the accuracy of calling all steps right.
    """

    keeps: bool = False
    right: int = 0
    solutions: list[JudgedSolution] = field(default_factory=list)
    groups: int = 0

    def update(self, rewards_B: Tensor, comparisons: object, batch: RewardBatch | None = None) -> None:
        """Add one batch. Shapes: rewards_B (S,), log odds."""
        assert isinstance(comparisons, StepLabels)
        labels = comparisons
        label_S = labels.label_S
        is_judged_S = label_S != UNJUDGED
        is_decided_S = is_judged_S & (label_S != 0.5)
        odds_S = rewards_B.detach().float()
        is_right_S = label_S > 0.5
        hits_S = ((odds_S > 0) == is_right_S) & is_decided_S
        sums = [is_decided_S.sum(), hits_S.sum(), (is_right_S & is_decided_S).sum(), odds_S.sigmoid().sum()]
        decided, correct, right, probability = torch.stack([value.double() for value in sums]).tolist()
        self.comparisons += len(labels)
        self.decided += int(decided)
        self.correct += int(correct)
        self.right += int(right)
        self.rewards += len(odds_S)
        self.reward_sum += probability
        if batch is not None:
            self.logical_tokens += batch.logical_tokens
            self.distinct_tokens += batch.distinct_tokens
        if self.keeps:
            self._keep(odds_S.sigmoid().tolist(), labels)

    def _keep(self, scores: Sequence[float], labels: StepLabels) -> None:
        found: dict[int, tuple[int, list[float], list[float | None]]] = {}
        rows = zip(labels.solution_S.tolist(), labels.group_S.tolist(), labels.label_S.tolist(), scores, strict=True)
        for solution, group, label, score in rows:
            _, own_scores, own_labels = found.setdefault(solution, (group, [], []))
            own_scores.append(score)
            own_labels.append(None if label == UNJUDGED else label)
        for group, own_scores, own_labels in found.values():
            self.solutions.append(JudgedSolution(tuple(own_scores), tuple(own_labels), self.groups + group))
        self.groups += 1 + max(labels.group_S.tolist(), default=-1)

    def evaluated(self) -> dict[str, float]:
        """Return the summary with the loss, and what is measured over all solutions."""
        measured = measure_steps(self.solutions).metrics() if self.solutions else {}
        return {**self.summary(), **measured, **({"loss": self.loss()} if self.loss_terms else {})}

    def summary(self) -> dict[str, float]:
        """Return the logged names and values. An undefined metric is NaN."""
        plain = super().summary()
        return {
            "accuracy": plain["accuracy"],
            "label_right_rate": self.right / self.decided if self.decided else math.nan,
            "mean_probability": plain["mean_reward"],
            "num_steps": float(self.comparisons),
            "saving": plain["saving"],
            "distinct_tokens_per_second": plain["distinct_tokens_per_second"],
        }
