import math

import numpy as np
import pytest

from rewardsmith.audit.verifiable import final_number, rate_final_numbers
from rewardsmith.data import load_preferences
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 x 6 = 18. #### 18", 18),
        ("She makes 9 * 2 = $18 every day.\nA: 18", 18),
        ("so \\boxed{3/4} of 12 is 9", 0.75),
        ("The answer is $1,234.50 in total, of 7 parts", 1234.5),
        ("first 5, then -7", -7),
        ("#### none, but 4", 4),
        ("no number", None),
        ("1/0", None),
    ],
)
def test_the_final_number_of_a_solution(text, value):
    assert final_number(text) == value


def test_answers_are_rated_against_the_known_one_and_groups_without_it_stay():
    groups = [
        PreferenceGroup("q", ("it is 6", "#### 5", "none"), metadata={"truth": "#### 5"}),
        PreferenceGroup("r", ("it is 6", "7"), metadata={"truth": 7}),
        PreferenceGroup("s", ("1", "2")),
    ]
    found = rate_final_numbers(groups, "truth")
    assert [dict(g.ratings) for g in found] == [{"correct": (0.0, 1.0, 0.0)}, {"correct": (0.0, 1.0)}, {}]
    with pytest.raises(DataError, match="columns found: truth"):
        rate_final_numbers(groups, "answer")


def test_it_agrees_with_the_published_labels_of_gsm8k(real_data):
    groups = load_preferences(real_data / "gsm8k-solutions/example_model_solutions.jsonl").groups
    published = [value for group in groups for value in group.ratings["correct"]]
    checked = rate_final_numbers(
        [PreferenceGroup(g.prompt, g.completions, metadata=g.metadata) for g in groups], "ground_truth"
    )
    found = [value for group in checked for value in group.ratings["correct"]]
    assert len(found) == len(published) > 5000
    assert np.mean(np.array(found) == np.array(published)) > 0.99
    assert not math.isnan(np.mean(found))
