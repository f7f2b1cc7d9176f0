"""Agreement of raters and the ceiling that it sets, by hand; coefficients on real files stand with the data checks."""

import math

import pytest

from rewardsmith.stats.agreement import cohen_kappa


def test_kappa_is_the_agreement_beyond_chance():
    # 4 of 6 agree; by chance (3*2 + 2*2 + 1*2) / 36 = 1/3 would.
    pairs = [(1, 1), (1, 1), (1, 0), (0, 0), (0, -1), (-1, -1)]
    assert cohen_kappa(pairs).value == pytest.approx((4 / 6 - 1 / 3) / (1 - 1 / 3))
    assert math.isnan(cohen_kappa([(1, 1)]).value)
    assert math.isnan(cohen_kappa([]).value)
