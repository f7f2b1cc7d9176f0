"""Hinge by hand."""

import pytest
from by_hand import pair, rewards

from rewardsmith import objectives as o
from rewardsmith.errors import ConfigError


def test_hinge_by_hand():
    assert o.hinge(rewards(1.0, 0.5), pair()).item() == pytest.approx(0.5)
    assert o.hinge(rewards(3.0, 0.5), pair()).item() == 0.0
    assert o.hinge(rewards(1.0, 0.5), pair(margin=2.0)).item() == pytest.approx(1.5)


def test_a_tie_asks_for_no_lead_and_a_margin_of_none_is_refused():
    assert o.hinge(rewards(1.0, 0.5), pair(is_tie=True)).item() == pytest.approx(0.25)
    with pytest.raises(ConfigError, match="default_margin must be positive"):
        o.hinge(rewards(1.0, 0.5), pair(), default_margin=0.0)
