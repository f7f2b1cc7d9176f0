"""Ratings beside those of people: errors by hand, the mean as baseline, a verdict of each attribute."""

import pytest

from rewardsmith.evaluation.rated import measure_ratings, rating_verdict, ratings_table
from rewardsmith.records import PreferenceGroup

GROUPS = [
    PreferenceGroup(f"q{n}", ("a", "b"), ratings={"help": (float(n), None), "noise": (float(n % 2), 1.0)})
    for n in range(8)
]


def given(help_error=0.5):
    return [[{"help": n + help_error * (-1) ** n, "noise": 9.0 * (n % 3)}, {"help": 0.0}] for n in range(8)]


def test_errors_are_over_rated_answers_and_stand_beside_those_of_the_mean():
    found = measure_ratings(GROUPS, given())
    assert found["help"].metrics["mse"].value == pytest.approx(0.25)
    assert found["help"].metrics["mae"].value == pytest.approx(0.5)
    assert found["help"].metrics["mse"].n == 8
    # The variance of 0..7.
    assert found["help"].baselines["mse"].value == pytest.approx(5.25)
    assert found["help"].gain.value == pytest.approx(5.0)
    assert found["help"].metrics["pearson"].value > 0.95


def test_the_verdict_names_attributes_that_are_no_better_than_a_constant():
    found = measure_ratings(GROUPS, given())
    verdict = rating_verdict(found)
    assert verdict.level == "red"
    assert "1 of 2 ratings" in verdict.message
    assert "noise" in verdict.message
    assert rating_verdict({"help": found["help"]}).level == "green"


def test_the_table_has_a_row_an_attribute():
    found = measure_ratings(GROUPS, given())
    table = ratings_table({name: one.to_dict() for name, one in found.items()})
    assert [row[0] for row in table.rows] == ["help", "noise"]
