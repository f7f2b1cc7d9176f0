"""The loss of judged steps as sums with denominators, and what is logged."""

import math

import pytest
import torch
from step_rows import judge
from transformers.modeling_outputs import TokenClassifierOutput

from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.training.loss import combine
from rewardsmith.training.steps.loss import StepCollator, StepLabelLoss, StepMetrics, log_odds

ONE = {"ids": [[5, 6, 7], [5, 8]], "sequence": [0, 0, 1], "place": [1, 2, 1], "label": [1.0, 0.0, -1.0]}
TWO = {"ids": [[9, 6]], "sequence": [0], "place": [1], "label": [0.25]}


@pytest.fixture(scope="module")
def collator():
    return StepCollator(prepare_model(judge()[0]))


def terms_of(collator, *examples):
    found = collator(examples)
    model = judge()[0].eval()
    prepare_model(model)
    output = TokenClassifierOutput(logits=model(reward_batch=found["batch"]).logits)
    return StepLabelLoss().terms_of_output(output, found["comparisons"])


def test_a_batch_holds_every_step_and_counts_the_judged_ones(collator):
    found = collator([ONE, TWO])
    labels = found["comparisons"]
    assert len(found["batch"].sequence_B) == 4
    assert len(labels) == 3
    assert labels.solution_S.tolist() == [0, 0, 1, 2]
    assert labels.group_S.tolist() == [0, 0, 0, 1]


def test_a_step_is_the_same_in_one_batch_or_in_two(collator):
    loss = StepLabelLoss()
    together = combine(terms_of(collator, ONE, TWO))
    totals = loss.totals([collator([ONE]), collator([TWO])])
    assert totals == {"loss": 3.0}
    apart = combine(terms_of(collator, ONE), totals) + combine(terms_of(collator, TWO), totals)
    torch.testing.assert_close(together, apart)


def test_metrics_count_steps_whose_label_says_right_or_wrong(collator):
    metrics = StepMetrics(keeps=True)
    odds = torch.tensor([2.0, 1.0, -1.0, -3.0])
    found = collator([ONE, TWO])
    metrics.update(odds, found["comparisons"], found["batch"])
    summary = metrics.evaluated()
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert summary["label_right_rate"] == pytest.approx(1 / 3)
    assert summary["num_steps"] == 3
    assert summary["auroc"] == 1.0
    assert math.isnan(summary["f1"])
    assert [solution.cluster for solution in metrics.solutions] == [0, 0, 1]


def test_log_odds_are_of_the_class_right():
    assert log_odds(torch.tensor([[1.0, 3.0]])).tolist() == [2.0]
