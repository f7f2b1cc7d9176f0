"""The Bradley-Terry losses by hand: margins, soft labels, smoothing, ties."""

import math

import pytest
from by_hand import LN2, pair, rewards

from rewardsmith import objectives as o


def test_bradley_terry_by_hand():
    # -log sigmoid(2 - 0.5) = log(1 + e^-1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair()).item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert o.bradley_terry(rewards(2.0, 0.5), pair(margin=1.0)).item() == pytest.approx(math.log1p(math.exp(-0.5)))
    soft = 0.8 * math.log1p(math.exp(-1.5)) + 0.2 * (math.log1p(math.exp(-1.5)) + 1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair(probability=0.8)).item() == pytest.approx(soft)
    smoothed = 0.9 * math.log1p(math.exp(-1.5)) + 0.1 * (math.log1p(math.exp(-1.5)) + 1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair(), label_smoothing=0.1).item() == pytest.approx(smoothed)
    assert o.bradley_terry(rewards(1.0, 1.0), pair(is_tie=True)).item() == pytest.approx(LN2)


def test_scaled_bradley_terry_multiplies_by_the_margin():
    plain = o.bradley_terry(rewards(1.0, 0.0), pair()).item()
    assert o.scaled_bradley_terry(rewards(1.0, 0.0), pair(margin=3.0)).item() == pytest.approx(3 * plain)
    assert o.scaled_bradley_terry(rewards(1.0, 0.0), pair()).item() == pytest.approx(plain)


def test_swapping_a_soft_pair_swaps_its_label():
    scores = rewards(0.9, -0.3)
    swapped = o.make_comparisons([1], [0], probability=[0.3])
    assert o.bradley_terry(scores, pair(probability=0.7)).item() == pytest.approx(
        o.bradley_terry(scores, swapped).item()
    )
