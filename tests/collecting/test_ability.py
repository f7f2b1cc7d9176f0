"""Bradley-Terry with annotator ability."""

import math

import numpy as np
import pytest

from rewardsmith.collecting.ability import Vote, fit_bradley_terry


def test_strengths_of_two_sides_are_the_log_odds_of_their_votes():
    votes = [Vote("r", 1, "a", "b", 1.0)] * 9 + [Vote("r", 1, "a", "b", 0.0)]
    found = fit_bradley_terry(votes, ability=False, prior=1e-9).strengths
    assert found["a"] - found["b"] == pytest.approx(math.log(9), abs=1e-4)


def test_ties_are_half_a_vote_for_either_side():
    tied = fit_bradley_terry([Vote("r", 1, "a", "b", 0.5)] * 4, ability=False).strengths
    assert tied["a"] == pytest.approx(tied["b"], abs=1e-6)


def test_a_side_that_won_every_vote_stays_finite():
    found = fit_bradley_terry([Vote("r", 1, "a", "b", 1.0)] * 50)
    assert all(math.isfinite(value) for value in found.strengths.values())


def test_without_votes_nothing_is_said():
    assert fit_bradley_terry([]).abilities == {}


def test_somebody_who_answers_by_coin_is_told_from_those_who_look():
    draw = np.random.default_rng(3)
    votes = []
    # Who is right shows only against many: five who look, one who looks less, one who does not.
    people = [(f"other {n}", 2.0) for n in range(4)] + [("careful", 3.0), ("typical", 0.7), ("coin", 0.0)]
    for item in range(60):
        gap = draw.normal() * 2
        for rater, sharpness in people:
            won = draw.random() < 1 / (1 + math.exp(-sharpness * gap))
            votes.append(Vote(rater, item, (item, 0), (item, 1), float(won)))
    found = fit_bradley_terry(votes).abilities
    assert found["careful"].value > found["typical"].value > found["coin"].value
    assert all(one.low < one.value < one.high and one.n == 60 for one in found.values())
    # The geometric mean of abilities is 1: they say who is sharper than whom.
    assert math.prod(one.value for one in found.values()) == pytest.approx(1, abs=1e-6)


def test_swapping_the_sides_of_every_vote_changes_nothing():
    draw = np.random.default_rng(5)
    votes = [Vote(f"r{n % 3}", n % 7, (n % 7, 0), (n % 7, 1), float(draw.integers(0, 2))) for n in range(60)]
    swapped = [Vote(v.rater, v.item, v.second, v.first, 1 - v.share) for v in votes]
    first, second = fit_bradley_terry(votes), fit_bradley_terry(swapped)
    assert first.abilities["r0"].value == pytest.approx(second.abilities["r0"].value, abs=1e-4)
    assert first.strengths[3, 0] == pytest.approx(second.strengths[3, 0], abs=1e-4)
