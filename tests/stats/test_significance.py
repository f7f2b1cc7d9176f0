import math

import numpy as np
import pytest

from rewardsmith.evaluation import Resampling, ScoredGroup
from rewardsmith.evaluation.judged import accuracy_observations
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.stats.intervals import Observations, bootstrap_ratio, paired_difference
from rewardsmith.stats.significance import (
    ClusteredSums,
    Statistic,
    benjamini_hochberg,
    holm,
    resample_totals,
    sign_flip_p_values,
    unpaired_difference,
)


def test_the_sign_flip_p_value_of_four_equal_changes_is_two_of_sixteen():
    # Only the two vectors with equal signs reach |sum| = 4, so p -> 2/16.
    [p] = sign_flip_p_values(np.ones((4, 1)), flips=40_000)
    assert p == pytest.approx(2 / 16, abs=0.01)


def test_a_test_on_one_side_sees_only_that_side():
    # Of sixteen sign vectors one reaches +4; all reach -4 or more.
    changes = np.ones((4, 3))
    rise, fall, both = sign_flip_p_values(changes, flips=40_000, sides=[1, -1, 0])
    assert rise == pytest.approx(1 / 16, abs=0.01)
    assert fall == 1.0
    assert both == pytest.approx(2 / 16, abs=0.01)


def test_changes_that_cancel_give_no_evidence_and_no_changes_give_one():
    p = sign_flip_p_values(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert p == [1.0, 1.0]


def test_the_smallest_p_value_is_not_zero_and_equals_one_draw():
    [p] = sign_flip_p_values(np.ones((60, 1)), flips=999)
    assert p == 1 / 1000


def test_p_values_are_uniform_where_nothing_changes_in_truth():
    changes = np.random.default_rng(1).normal(size=(40, 2000))
    p = np.array(sign_flip_p_values(changes, flips=999))
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.04)


def test_equal_seeds_give_equal_p_values():
    changes = np.random.default_rng(2).normal(size=(30, 5))
    assert sign_flip_p_values(changes, 500, 3) == sign_flip_p_values(changes, 500, 3)
    assert sign_flip_p_values(changes, 500, 3) != sign_flip_p_values(changes, 500, 4)


def test_q_values_are_worked_by_hand():
    # Sorted: .005 * 4/1 = .02; .01 * 4/2 = .02; .03 * 4/3 = .04; .9 * 4/4 = .9.
    assert benjamini_hochberg([0.9, 0.01, 0.03, 0.005]) == pytest.approx([0.9, 0.02, 0.04, 0.02])


def test_a_probe_that_was_not_run_is_no_test():
    q = benjamini_hochberg([0.02, math.nan, 0.04])
    assert q[0] == pytest.approx(0.04)
    assert math.isnan(q[1])
    assert q[2] == pytest.approx(0.04)


HOW = Resampling(1000, 0)


def observed(values) -> Observations:
    return Observations(list(map(float, values)), list(range(len(values))))


def test_a_right_an_undecided_and_a_wrong_judgement_count_one_a_half_and_nothing_and_a_tie_does_not_count():
    edges = (Comparison(0, 1), Comparison(1, 2), Comparison(2, 0), Comparison(0, 2, "tie"))
    found = accuracy_observations([ScoredGroup(PreferenceGroup("q", ("a", "b", "c"), edges), (2.0, 1.0, 1.0))])
    assert found.values == [1.0, 0.5, 0.0]
    assert found.clusters == [0, 0, 0]


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


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_ratio_has_the_interval_of_the_bootstrap_of_ratios():
    generator = np.random.default_rng(0)
    cluster = generator.integers(0, 80, 400)
    top = generator.normal(1.0, 1.0, 400) + cluster / 80
    sums = ClusteredSums(80)
    sums.add(cluster, top=top, n=np.ones(400))
    found = sums.estimate({"mean": Statistic(lambda t: t["top"] / t["n"], 400)}, Resampling(8000))["mean"]
    other = bootstrap_ratio(top, np.ones(400), cluster, 8000, 1)
    assert found.value == pytest.approx(other.value)
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_totals_of_samples_draw_as_many_clusters_as_there_are():
    totals = resample_totals(np.ones((7, 2)), Resampling(50))
    assert totals.shape == (50, 2)
    assert (totals == 7).all()


def test_an_undefined_statistic_is_nan_with_its_n():
    sums = ClusteredSums(3)
    sums.add(np.array([0, 1, 2]), top=np.zeros(3), n=np.zeros(3))
    found = sums.estimate({"share": Statistic(lambda t: t["top"] / t["n"], 0, True)}, Resampling(50))["share"]
    assert math.isnan(found.value)
    assert found.n == 0
    assert math.isnan(found.low)


def test_a_perfect_share_gets_wilsons_interval_and_not_certainty():
    sums = ClusteredSums(10)
    sums.add(np.arange(10), top=np.ones(10), n=np.ones(10))
    found = sums.estimate({"share": Statistic(lambda t: t["top"] / t["n"], 10, True)}, Resampling(50))["share"]
    assert found.value == 1.0
    assert 0.6 < found.low < 0.8
    assert found.high == pytest.approx(1.0)
