"""What is measured on judged steps."""

import math

import pytest

from rewardsmith.errors import DataError
from rewardsmith.evaluation import evaluate
from rewardsmith.evaluation.steps import ALL_RIGHT, JudgedSolution, first_below, measure_steps


def solutions(*rows):
    return [JudgedSolution(scores, labels, cluster) for cluster, (scores, labels) in enumerate(rows)]


def test_figures_of_a_hand_worked_set():
    found = measure_steps(
        solutions(
            ((0.9, 0.8, 0.2), (1.0, 1.0, 0.0)),  # found: step 2
            ((0.9, 0.6), (1.0, 0.0)),  # not found
            ((0.7, 0.6), (1.0, 1.0)),  # all right, found
            ((0.4,), (1.0,)),  # all right, not found
        )
    )
    assert found.accuracy.value == pytest.approx(6 / 8)
    assert found.accuracy.n == 8
    assert found.balanced_accuracy.value == pytest.approx((5 / 6 + 1 / 2) / 2)
    # Of 12 pairs of a right and a wrong step: 0.2 is below all 6, 0.6 below 4 and equal to 1.
    assert found.auroc.value == pytest.approx((6 + 4.5) / 12)
    assert (found.found_wrong.value, found.found_right.value) == (0.5, 0.5)
    assert found.f1.value == 0.5
    assert found.baselines[ALL_RIGHT].value == pytest.approx(6 / 8)
    assert found.best_baseline() == ALL_RIGHT
    low, high = found.metrics()["auroc_low"], found.metrics()["auroc_high"]
    assert 0 <= low <= found.auroc.value <= high <= 1


def test_calling_every_step_right_finds_no_first_error():
    found = measure_steps(solutions(((0.9, 0.9), (1.0, 0.0)), ((0.9,), (1.0,))))
    assert found.f1.value == 0
    assert found.auroc.value == 0.5
    assert found.balanced_accuracy.value == 0.5


def test_what_labels_do_not_say_is_undefined_and_not_zero():
    found = measure_steps(solutions(((0.9, 0.1), (1.0, None)), ((0.5,), (0.5,))))
    assert found.accuracy.n == 1
    assert math.isnan(found.auroc.value)
    assert math.isnan(found.f1.value)


def test_the_first_error_is_known_only_up_to_the_first_unjudged_step():
    assert JudgedSolution((0.1, 0.1), (1.0, 0.0)).first_error() == 1
    assert JudgedSolution((0.1, 0.1, 0.1), (1.0, 0.0, None)).first_error() == 1
    assert JudgedSolution((0.1, 0.1), (None, 0.0)).first_error() is None
    assert JudgedSolution((0.1,), (1.0,)).first_error() == -1
    assert first_below((0.9, 0.4, 0.1), 0.5) == 1
    assert first_below((0.9,), 0.5) == -1


def test_rows_of_judged_steps_are_refused_before_anything_is_scored():
    rows = [{"prompt": "q", "completions": ["good", "bad"], "labels": [True, False]}]
    with pytest.raises(DataError, match=r"the rows judge steps and compare no answers; .*--loss_type steps"):
        evaluate(lambda prompt, answers: 1 / 0, rows)
