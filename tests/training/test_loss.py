"""Sums are divided once: the loss of a step, and the metrics beside it."""

import math

import pytest
import torch

from rewardsmith import RewardConfig
from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.packing import RewardBatch
from rewardsmith.objectives.comparisons import make_comparisons
from rewardsmith.training.loss import RewardMetrics, StepLoss, combine, require_finite

REWARDS = torch.tensor([1.0, 0.0, 2.0, 2.0])


def settings(tmp_path, **changes):
    return RewardConfig(str(tmp_path), use_cpu=True, report_to="none", **changes)


def test_the_loss_of_a_pair_is_minus_the_log_of_the_chance_that_it_wins(tmp_path):
    loss = StepLoss(settings(tmp_path))(REWARDS, make_comparisons([0], [1]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.0)))


def test_halves_of_a_step_over_its_denominators_add_up_to_the_whole(tmp_path):
    step = StepLoss(settings(tmp_path, center_rewards_coefficient=0.01, l2_rewards_coefficient=0.001))
    parts = [make_comparisons([0], [1], weight=[3.0]), make_comparisons([2], [1])]
    whole = make_comparisons([0, 2], [1, 1], weight=[3.0, 1.0])
    totals = step.denominators(whole)
    assert totals == {"loss": 4.0, "center": 4.0, "l2": 4.0}
    halves = sum(combine(step.terms(REWARDS, part), totals) for part in parts)
    assert halves.item() == pytest.approx(step(REWARDS, whole).item())


def test_metrics_read_labels_as_evaluation_does():
    metrics = RewardMetrics()
    comparisons = make_comparisons(
        [0, 1, 2, 0, 0], [1, 0, 3, 1, 1], probability=[1.0, 0.2, 1.0, 0.5, 1.0], weight=[1.0, 1.0, 1.0, 1.0, 0.0]
    )
    batch = RewardBatch((), torch.arange(4), logical_tokens=12, distinct_tokens=6)
    metrics.update(REWARDS, comparisons, batch)
    found = metrics.summary()
    # Right, right once turned, equal; the tie and the comparison of weight 0 count for none.
    assert found["accuracy"] == pytest.approx(2.5 / 3)
    assert found["accuracy_strict"] == pytest.approx(2 / 3)
    assert found["label_tie_rate"] == pytest.approx(1 / 4)
    assert found["reward_tie_rate"] == pytest.approx(1 / 3)
    assert found["num_comparisons"] == 4
    assert found["saving"] == 2.0
    assert found["mean_reward"] == pytest.approx(1.25)


def test_metrics_of_nothing_are_undefined():
    found = RewardMetrics().summary()
    assert all(math.isnan(found[name]) for name in ("accuracy", "mean_reward", "min_reward", "saving"))
    assert math.isnan(RewardMetrics().loss())


def test_the_loss_on_the_chosen_text_joins_the_step_by_its_weight(tmp_path):
    step = StepLoss(settings(tmp_path, lm_loss_coefficient=0.5))
    judged = make_comparisons([0, 2], [1, 3], is_tie=[False, True])
    texts_B = torch.tensor([3.0, 9.0, 9.0, 9.0])
    assert step.denominators(judged)["language"] == 1.0
    total, count = step.language_terms(texts_B, judged)["language"]
    assert (total.item(), count.item()) == (1.5, 1.0)
    batch, _ = step.asking(RewardBatch((), torch.arange(4), 0, 0), judged)
    assert batch.reads_text_B.tolist() == [True, False, True, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused_with_its_step(value):
    require_finite([("loss", 0.5, 1.0)], 3)
    with pytest.raises(ScoringError, match=r"the loss is .* in step 3.*lower learning_rate"):
        require_finite([("loss", value, 1.0)], 3)
    with pytest.raises(ScoringError, match="the center term of the loss"):
        require_finite([("loss", 0.5, 1.0), ("center", value, 1.0)], 3)
