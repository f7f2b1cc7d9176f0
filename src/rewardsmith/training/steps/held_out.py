"""Judged steps that were not trained on, measured with the model that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewardsmith.errors import DataError
from rewardsmith.evaluation.steps import JudgedSolution, StepResult, measure_steps
from rewardsmith.models.steps import TokenJudge
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.steps.encoding import UNJUDGED, solutions_of

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

TOKENS_PER_FORWARD = 8192


def measure_held_out(trainer: RewardTrainer, groups: Sequence[PreferenceGroup]) -> StepResult | None:
    """Return what the labels of held-out steps say of the model's scores; None where no step is judged."""
    assert trainer.steps is not None
    try:
        rows, _ = trainer.task.encode(groups, trainer.encoder, "held out", trainer.args)
    except DataError:
        return None
    judge = TokenJudge(trainer.steps, "min", trainer.plan)
    found = judge.read_groups(trainer.model, [list(solutions_of(row)) for row in rows], TOKENS_PER_FORWARD)
    solutions = []
    for cluster, (row, readings) in enumerate(zip(rows, found, strict=True)):
        labels = iter(row["label"])
        for reading in readings:
            own = tuple(None if label == UNJUDGED else label for _, label in zip(reading.steps, labels, strict=False))
            solutions.append(JudgedSolution(reading.steps, own, cluster))
    return measure_steps(solutions)
