import math

import pytest

from rewardsmith.evaluation.sections import best_baseline, hold_against
from rewardsmith.records import Estimate

BLIND = Estimate(0.849, 800, 0.820, 0.875)


@pytest.mark.parametrize(
    ("accuracy", "tone"),
    [
        (Estimate(0.95, 800, 0.93, 0.97), "good"),
        (Estimate(0.876, 800, 0.847, 0.901), "warn"),
        (Estimate(0.40, 800, 0.36, 0.44), "bad"),
        (Estimate(0.95, 800), "warn"),
    ],
)
def test_a_cell_is_green_only_where_the_intervals_do_not_touch(accuracy, tone):
    assert hold_against(accuracy, BLIND) == tone


def test_a_baseline_without_an_interval_is_its_value():
    assert hold_against(Estimate(0.6, 9, 0.55, 0.7), Estimate(0.5, 9)) == "good"
    assert hold_against(Estimate(0.6, 9, 0.55, 0.7), Estimate(math.nan, 0)) == "warn"


def test_the_scorer_without_its_prompt_is_a_baseline_like_the_rules():
    found = {"longest": Estimate(0.545, 800), "prompt_blind": BLIND, "random": Estimate(math.nan, 0)}
    assert best_baseline(found) == ("prompt_blind", BLIND)
    assert best_baseline({}) is None
    assert best_baseline({"random": Estimate(math.nan, 0)}) is None
