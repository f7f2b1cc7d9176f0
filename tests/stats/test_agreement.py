"""Agreement of raters and the ceiling that it sets, by hand; coefficients on real files stand with the data checks."""

import math

import numpy as np
import pytest

from rewardsmith.records import Estimate
from rewardsmith.stats.agreement import (
    ceiling_from_agreement,
    cohen_kappa,
    pair_agreement,
    raters_ceiling,
    without_copies,
)


def test_kappa_is_the_agreement_beyond_chance():
    # 4 of 6 agree; by chance (3*2 + 2*2 + 1*2) / 36 = 1/3 would.
    pairs = [(1, 1), (1, 1), (1, 0), (0, 0), (0, -1), (-1, -1)]
    assert cohen_kappa(pairs).value == pytest.approx((4 / 6 - 1 / 3) / (1 - 1 / 3))
    assert math.isnan(cohen_kappa([(1, 1)]).value)
    assert math.isnan(cohen_kappa([]).value)


def test_two_raters_who_err_in_a_fifth_agree_in_68_percent():
    assert ceiling_from_agreement(0.8**2 + 0.2**2) == pytest.approx(0.8)
    assert math.isnan(ceiling_from_agreement(0.4))
    # Below chance the raters guess: the ceiling is that of guessing.
    assert raters_ceiling(Estimate(0.4, 10, 0.3, 0.68)).value == 0.5


def test_two_of_three_votes_agree_in_a_third_of_their_pairs():
    votes = np.array([[2.0, 1.0], [2.0, 0.0], [1.0, 0.0]])
    found = pair_agreement(votes, [0, 1, 2])
    assert found.value == pytest.approx((1 / 3 + 1) / 2)
    assert found.n == 2


def test_rows_that_name_no_rater_and_never_differ_are_copies():
    votes = np.array([[2.0, 0.0], [3.0, 0.0]])
    assert without_copies(votes, [False, True]).tolist() == [[0.0, 0.0], [3.0, 0.0]]
    differing = np.array([[2.0, 1.0], [3.0, 0.0]])
    assert without_copies(differing, [False, False]).tolist() == differing.tolist()
