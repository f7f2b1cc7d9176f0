"""Laws that every objective of the table keeps."""

import pytest
import torch
from by_hand import pair, ranking, rewards, value

from rewardsmith import objectives as o
from rewardsmith.objectives import OBJECTIVES


def test_with_two_answers_listwise_and_k_wise_are_bradley_terry():
    scores = rewards(0.4, -0.7)
    expected = o.bradley_terry(scores, pair()).item()
    for name in ("k_wise", "plackett_luce", "best_against_rest"):
        assert value(name, scores, pair()).item() == pytest.approx(expected)
    tie = o.bradley_terry(scores, pair(is_tie=True)).item()
    assert value("plackett_luce", scores, pair(is_tie=True)).item() == pytest.approx(tie)


def test_k_wise_counts_prompts_alike_and_pairs_do_not():
    scores = rewards(1.0, 0.0, 2.0, 1.0, 0.0)
    both = o.make_comparisons([0, 2, 2, 3], [1, 3, 4, 4], [0, 1, 1, 1], 2)
    losses = o.bradley_terry(scores, both)
    assert value("k_wise", scores, both).item() == pytest.approx((losses[0] + losses[1:].mean()).item() / 2)
    assert value("bradley_terry", scores, both).item() == pytest.approx(losses.mean().item())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_constant_added_to_all_rewards_changes_nothing(name):
    scores, ranks = rewards(0.3, -1.0, 2.0), ranking([2, 2, 1])
    assert value(name, scores + 7.5, ranks).item() == pytest.approx(value(name, scores, ranks).item())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_raise_the_better_and_lower_the_worse(name):
    scores = rewards(0.1, 0.0).requires_grad_()
    value(name, scores, pair()).backward()
    assert scores.grad[0] < 0 < scores.grad[1]
    assert scores.grad.sum().item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ties_pull_rewards_together(name):
    scores = rewards(0.8, 0.0).requires_grad_()
    value(name, scores, pair(is_tie=True)).backward()
    assert scores.grad[0] > 0 > scores.grad[1]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_rewards_stay_finite(name, size):
    scores = torch.tensor([size, 0.0, -size / 2], requires_grad=True)
    loss = value(name, scores, ranking([1, 2, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_half_precision_is_computed_in_fp32(name):
    scores = torch.tensor([1.5, 0.25, -2.0], dtype=torch.bfloat16)
    exact = value(name, scores.float(), ranking([1, 2, 3]), 0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = value(name, scores.float(), ranking([1, 2, 3]), 0.3)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
