"""What a trainer of steps shows to a caller."""

import torch
from step_rows import judge

from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.training.steps.loss import StepCollator
from rewardsmith.training.steps.task import StepTask


def test_predictions_have_the_form_of_trls_compute_metrics():
    collate = StepCollator(prepare_model(judge()[0]))
    labels = collate([{"ids": [[5, 6, 7]], "sequence": [0, 0], "place": [1, 2], "label": [0.75, -1.0]}])["comparisons"]
    task, logits = StepTask(), torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    predictions, targets = task.predictions(task.shown(logits, labels))
    assert predictions.shape == (2, 1, 2)
    assert targets.tolist() == [[1], [-100]]
