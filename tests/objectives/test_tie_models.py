"""Rao-Kupper and Davidson by hand, and what their outcomes add up to."""

import math

import pytest
import torch
from by_hand import pair, rewards

from rewardsmith import objectives as o
from rewardsmith.errors import ConfigError
from rewardsmith.objectives.tie_models import davidson_start, rao_kupper_start


def test_rao_kupper_probabilities_sum_to_one():
    for difference, t in ((0.7, 0.2), (-1.3, 0.9), (0.0, 0.05)):
        scores, threshold = rewards(difference, 0.0), torch.tensor(t, dtype=torch.float64)
        win = math.exp(-o.rao_kupper(scores, pair(), threshold).item())
        loss = math.exp(-o.rao_kupper(scores.flip(0), pair(), threshold).item())
        tie = math.exp(-o.rao_kupper(scores, pair(is_tie=True), threshold).item())
        assert win == pytest.approx(1 / (1 + math.exp(-(difference - t))))
        assert win + loss + tie == pytest.approx(1.0)


def test_davidson_by_hand_and_its_limit():
    nu = 0.5
    scores, log_nu = rewards(1.0, 0.0), torch.tensor(math.log(nu), dtype=torch.float64)
    total = math.e + 1 + nu * math.exp(0.5)
    assert o.davidson(scores, pair(), log_nu).item() == pytest.approx(-math.log(math.e / total))
    assert o.davidson(scores, pair(is_tie=True), log_nu).item() == pytest.approx(-math.log(nu * math.exp(0.5) / total))
    tiny = torch.tensor(-40.0, dtype=torch.float64)
    assert o.davidson(scores, pair(), tiny).item() == pytest.approx(o.bradley_terry(scores, pair()).item())


@pytest.mark.parametrize("share", [0.001, 0.2, 0.9])
def test_equal_rewards_tie_as_often_as_the_data_at_the_start(share):
    equal, tie = rewards(0.3, 0.3), pair(is_tie=True)
    for model, start in ((o.rao_kupper, rao_kupper_start), (o.davidson, davidson_start)):
        threshold = torch.tensor(start(share), dtype=torch.float64)
        assert math.exp(-model(equal, tie, threshold).item()) == pytest.approx(share)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\]"):
        rao_kupper_start(1.5)


@pytest.mark.parametrize("name", ["rao_kupper", "davidson"])
def test_votes_with_ties_train_as_the_votes_one_by_one(name):
    function, threshold = o.OBJECTIVES[name].function, torch.tensor(0.3, dtype=torch.float64)
    scores = rewards(0.9, -0.2)
    shared = o.make_comparisons([0], [1], probability=[0.7], tie_share=[0.2])
    votes = o.make_comparisons([0, 0, 0, 1, 0], [1, 1, 1, 0, 1], is_tie=[0, 0, 0, 0, 1])
    assert float(function(scores, shared, threshold)) == pytest.approx(float(function(scores, votes, threshold).mean()))
    # Two votes for each side are no votes for a tie; where nobody says, a label of 1/2 is one.
    known, unknown = (
        o.make_comparisons([0], [1], probability=[0.5], tie_share=[0.0]),
        o.make_comparisons([0], [1], probability=[0.5]),
    )
    halves = [float(function(scores, o.make_comparisons([i], [1 - i]), threshold)) for i in (0, 1)]
    assert float(function(scores, known, threshold)) == pytest.approx(sum(halves) / 2)
    assert float(function(scores, unknown, threshold)) == float(function(scores, pair(is_tie=True), threshold))
