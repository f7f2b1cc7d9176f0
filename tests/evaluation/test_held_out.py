import math

import pytest

from rewardsmith.evaluation.held_out import evaluate_held_out
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import measure
from rewardsmith.records import Comparison, PreferenceGroup


def test_accuracy_counts_decided_comparisons_and_equal_rewards_half():
    group = PreferenceGroup("q", ("aaa", "b", "cc"), (Comparison(0, 1), Comparison(1, 2), Comparison(0, 2, "tie")))
    other = PreferenceGroup("r", ("x", "y"), (Comparison(0, 1),))
    result = evaluate_held_out([group, other], [[2.0, 1.0, 3.0], [0.5, 0.5]])
    assert result.accuracy.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert result.accuracy.n == 3
    assert result.metrics["label_tie_rate"].value == pytest.approx(1 / 4)
    # "aaa" is longer than "b"; "b" is shorter than "cc"; "x" and "y" are equally long.
    assert result.baselines["longest"].value == pytest.approx((1 + 0 + 0.5) / 3)


def judged(values, prompt):
    """A group whose comparisons a reward gets right (1) or wrong (0)."""
    completions = tuple(f"{prompt} {side}{i}" for i in range(len(values)) for side in "ab")
    edges = tuple(Comparison(2 * i, 2 * i + 1) for i in range(len(values)))
    rewards = [float(side == value) for value in values for side in (1, 0)]
    return PreferenceGroup(prompt, completions, edges), rewards


def accuracy(rows):
    groups, rewards = zip(*(judged(row, f"p{i}") for i, row in enumerate(rows)), strict=True)
    return evaluate_held_out(groups, rewards).accuracy


def test_the_interval_is_that_of_evaluate():
    rows = [[1]] * 80 + [[0]] * 20
    groups, rewards = zip(*(judged(row, f"p{i}") for i, row in enumerate(rows)), strict=True)
    scored = [ScoredGroup(group, tuple(row)) for group, row in zip(groups, rewards, strict=True)]
    assert evaluate_held_out(groups, rewards).accuracy == measure(scored)["accuracy"]


def test_comparisons_of_one_prompt_count_as_one_observation_when_they_agree():
    single, repeated = accuracy([[1], [0]] * 50), accuracy([[1] * 10, [0] * 10] * 50)
    assert repeated.n == 10 * single.n
    assert repeated.high - repeated.low == pytest.approx(single.high - single.low, rel=0.05)


def test_all_right_is_not_certain():
    estimate = accuracy([[1]] * 20)
    assert estimate.high == pytest.approx(1.0)
    assert estimate.low < 0.9


def test_no_comparison_is_nan_with_n_zero():
    result = evaluate_held_out([PreferenceGroup("q", ("a", "b"), ())], [[1.0, 2.0]])
    assert math.isnan(result.accuracy.value)
    assert result.accuracy.n == 0


def test_the_better_of_the_two_rules_of_length_is_named():
    groups = [PreferenceGroup(f"q{i}", ("no", "a longer one"), (Comparison(0, 1),)) for i in range(20)]
    result = evaluate_held_out(groups, [[1.0, 0.0]] * 20)
    assert result.best_baseline() == "shortest"
    assert result.baselines["shortest"].value == 1.0
