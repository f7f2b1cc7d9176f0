import math

import pytest

from rewardsmith.cli.train_evaluation import clustered_mean, evaluate_held_out
from rewardsmith.records import Comparison, PreferenceGroup


def test_accuracy_counts_decided_comparisons_and_equal_rewards_half():
    group = PreferenceGroup("q", ("aaa", "b", "cc"), (Comparison(0, 1), Comparison(1, 2), Comparison(0, 2, "tie")))
    other = PreferenceGroup("r", ("x", "y"), (Comparison(0, 1),))
    result = evaluate_held_out([group, other], [[2.0, 1.0, 3.0], [0.5, 0.5]])
    assert result.accuracy.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert result.accuracy.n == 3
    assert result.tie_rate.value == pytest.approx(1 / 4)
    # "aaa" is longer than "b"; "b" is shorter than "cc"; "x" and "y" are equally long.
    assert result.longer_wins.value == pytest.approx((1 + 0 + 0.5) / 3)


def test_the_interval_is_that_of_wilson_when_every_prompt_has_one_comparison():
    values = [[1.0]] * 80 + [[0.0]] * 20
    estimate = clustered_mean(values)
    assert estimate.value == pytest.approx(0.8)
    # Wilson interval of 80 of 100, but for the factor (n - 1) / n of the sample variance.
    assert estimate.low == pytest.approx(0.711, abs=2e-3)
    assert estimate.high == pytest.approx(0.867, abs=2e-3)


def test_comparisons_of_one_prompt_count_as_one_observation_when_they_agree():
    single = clustered_mean([[1.0], [0.0]] * 50)
    repeated = clustered_mean([[1.0] * 10, [0.0] * 10] * 50)
    assert repeated.n == 10 * single.n
    assert repeated.high - repeated.low == pytest.approx(single.high - single.low, rel=1e-9)


def test_all_right_is_not_certain():
    estimate = clustered_mean([[1.0]] * 20)
    assert estimate.high == pytest.approx(1.0)
    assert estimate.low < 0.9


def test_no_comparison_is_nan_with_n_zero():
    estimate = clustered_mean([[], []])
    assert math.isnan(estimate.value)
    assert estimate.n == 0


def test_majority_does_not_read_the_order_in_which_files_list_the_sides():
    groups = [PreferenceGroup(f"q{i}", (f"win {i}", f"lose {i}"), (Comparison(0, 1),)) for i in range(400)]
    result = evaluate_held_out(groups, [[1.0, 0.0]] * 400)
    assert 0.5 <= result.majority.value < 0.6
    assert result.accuracy.value == 1.0
