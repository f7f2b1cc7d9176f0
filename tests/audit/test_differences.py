import math

import numpy as np
import pytest

from rewardsmith.audit.differences import accuracy_observations, paired_difference, unpaired_difference
from rewardsmith.evaluation import Resampling, ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.stats.intervals import Observations

HOW = Resampling(1000, 0)


def observed(values) -> Observations:
    return Observations(list(map(float, values)), list(range(len(values))))


def test_a_right_an_undecided_and_a_wrong_judgement_count_one_a_half_and_nothing_and_a_tie_does_not_count():
    edges = (Comparison(0, 1), Comparison(1, 2), Comparison(2, 0), Comparison(0, 2, "tie"))
    found = accuracy_observations([ScoredGroup(PreferenceGroup("q", ("a", "b", "c"), edges), (2.0, 1.0, 1.0))])
    assert found.values == [1.0, 0.5, 0.0]
    assert found.clusters == [0, 0, 0]


def test_paired_values_that_are_equal_everywhere_differ_by_nothing():
    found = paired_difference(observed([1, 0, 1]), observed([1, 0, 1]), HOW)
    assert (found.value, found.n) == (0.0, 3)
    assert math.isnan(found.low)


def test_paired_and_unpaired_differences_have_the_same_value():
    a, b = observed([1, 1, 1, 0]), observed([0, 1, 0, 0])
    assert paired_difference(a, b, HOW).value == unpaired_difference(a, b, HOW).value == 0.5
    assert unpaired_difference(a, b, HOW).n == 8


def test_an_empty_side_is_undefined():
    found = unpaired_difference(observed([1, 0]), observed([]), HOW)
    assert math.isnan(found.value)
    assert found.n == 2


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = []
    for repeat in range(300):
        a, b = generator.random(150) < 0.8, generator.random(80) < 0.6
        found = unpaired_difference(observed(a), observed(b), Resampling(400, repeat))
        held.append(found.low <= 0.2 <= found.high)
    # Four standard errors of 300 draws around 0.95.
    assert np.mean(held) == pytest.approx(0.95, abs=0.05)
