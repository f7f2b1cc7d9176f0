"""Terms that hold rewards in place, by hand."""

import pytest
from by_hand import pair, rewards

from rewardsmith import objectives as o
from rewardsmith.errors import ConfigError


def test_regularisers_by_hand():
    scores = rewards(2.0, -0.5)
    assert o.centring(scores, pair()).item() == pytest.approx(2.25)
    assert o.l2_on_rewards(scores, pair(), beta=0.001).item() == pytest.approx(0.0005 * (4 + 0.25))


def test_a_negative_coefficient_is_refused():
    with pytest.raises(ConfigError, match="beta must be >= 0"):
        o.l2_on_rewards(rewards(1.0, 0.5), pair(), beta=-1.0)
