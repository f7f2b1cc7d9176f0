"""Every formula against numbers worked by hand, then laws."""

import math

import pytest
import torch

from rewardsmith.rl.ppo import formulas

ALL = torch.ones(1, 3, dtype=torch.bool)


def test_advantages_of_two_tokens_by_hand():
    # gamma 0.5, lam 0.5; last: 4 - 3 = 1; before: 0 + 0.5*3 - 2 = -0.5, + 0.25*1 = -0.25;
    # first: 1 + 0.5*2 - 1 = 1, + 0.25*-0.25 = 0.9375.
    rewards, values = torch.tensor([[1.0, 0.0, 4.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    advantages, returns = formulas.generalized_advantages(rewards, values, 0.5, 0.5)
    assert advantages.tolist() == [[0.9375, -0.25, 1.0]]
    assert returns.tolist() == [[1.9375, 1.75, 4.0]]


def test_without_discount_returns_are_the_rewards_to_come():
    rewards, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[5.0, -1.0, 0.5]])
    assert formulas.generalized_advantages(rewards, values, 1.0, 1.0)[1].tolist() == [[7.0, 6.0, 4.0]]


def test_a_ratio_beyond_the_range_is_clipped_where_that_costs():
    # A = 2: r = 1.5 gains no more than 1.2; A = -1: r = 1.5 costs its full price; r = 0.5 no less than 0.8.
    found = formulas.policy_losses(torch.tensor([[1.5, 1.5, 0.5]]), torch.tensor([[2.0, -1.0, -1.0]]), 0.2)
    assert found.losses.tolist()[0] == pytest.approx([-2.4, 1.5, 0.8])
    assert found.is_clipped.tolist() == [[True, False, True]]


def test_a_value_that_moved_too_far_is_held_to_the_larger_error():
    # Old 0, return 1, value 0.9 kept at 0.2: 0.5 * 0.8^2; old 0, return -1, value 0.9: 0.5 * 1.9^2.
    new, old = torch.tensor([[0.9, 0.9]]), torch.zeros(1, 2)
    found = formulas.value_losses(new, old, torch.tensor([[1.0, -1.0]]), 0.2)
    assert found.losses.tolist()[0] == pytest.approx([0.32, 1.805])
    assert found.is_clipped.tolist() == [[True, False]]


def test_kl_estimators_by_hand():
    policy, reference = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])
    assert formulas.kl_per_token(policy, reference, "k1").item() == pytest.approx(math.log(2))
    assert formulas.kl_per_token(policy, reference, "k3").item() == pytest.approx(0.5 - 1 + math.log(2))


def test_the_score_is_paid_after_the_last_token():
    kl = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    found = formulas.rewards_of_states(kl, torch.tensor([10.0, 20.0]), torch.tensor([2, 1]), 0.5)
    assert found.tolist() == [[-0.5, -1.0, 10.0], [-1.5, 20.0, 0.0]]


def test_whitening_by_hand():
    # Mean 2, variance ((1 + 0 + 1) / 2) = 1.
    values = torch.tensor([[1.0, 2.0, 3.0]])
    assert formulas.whiten(values, ALL).tolist()[0] == pytest.approx([-1, 0, 1])
    assert formulas.whiten(2 * values, ALL, shift_mean=False).tolist()[0] == pytest.approx([3, 4, 5])


def test_whitening_ignores_what_is_masked_and_survives_a_single_value():
    mask = torch.tensor([[True, False, False]])
    assert formulas.whiten(torch.tensor([[5.0, 7.0, math.pi]]), mask).tolist() == [[0, 0, 0]]
    assert formulas.masked_mean(torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize(("kl", "expected"), [(6.0, 0.102), (60.0, 0.102), (5.5, 0.101), (0.0, 0.098), (5.0, 0.1)])
def test_the_kl_coefficient_follows_its_target(kl, expected):
    assert formulas.adapted_kl_coef(0.1, kl, 5.0, 0.1) == pytest.approx(expected)
