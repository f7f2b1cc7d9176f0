import json
import math

import numpy as np
import pytest

from rewardsmith.audit.sampled_answers import final_number, rate_final_numbers, read_samples
from rewardsmith.data import load_preferences
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_answer_that_was_sampled_twice_counts_twice(tmp_path):
    rows = [{"prompt": "q", "completions": ["a", "b", "a"], "scores": [1, 0, 1], "truth": "7"}]
    (group,) = read_samples(write(tmp_path / "s.jsonl", rows))
    assert group.completions == ("a", "b", "a")
    assert group.ratings == {"score": (1.0, 0.0, 1.0)}
    assert group.metadata == {"truth": "7"}
    assert group.comparisons == ()


def test_one_answer_a_row_is_gathered_by_prompt_wherever_it_stands(tmp_path):
    rows = [
        {"prompt": "q", "response": "a", "correct": True, "truth": "7"},
        {"prompt": "r", "response": "x", "correct": False, "truth": "8"},
        {"prompt": "q", "response": "a", "correct": None, "truth": "7"},
    ]
    first, second = read_samples(write(tmp_path / "s.jsonl", rows))
    assert (first.completions, first.ratings) == (("a", "a"), {"correct": (1.0, None)})
    assert (second.completions, second.metadata) == (("x",), {"truth": "8"})
    assert len(read_samples(tmp_path / "s.jsonl", limit=1)) == 1


def test_messages_are_read(tmp_path):
    user, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    (group,) = read_samples(write(tmp_path / "s.jsonl", [{"prompt": [user], "completions": [[answer], [answer]]}]))
    assert group.completions[0][0].content == "a"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"question": "q", "solution": "a"},
        {"prompt": "q", "completions": [{"rank": 0, "completion": "a"}, {"rank": 1, "completion": "b"}]},
    ],
)
def test_other_layouts_are_left_to_the_readers_of_preference_data(tmp_path, row):
    assert read_samples(write(tmp_path / "s.jsonl", [row])) is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q", "completions": ["a", "b"], "scores": [1]}, "one number for each of 2 answers"),
        ({"prompt": "q", "completions": ["a"], "ratings": {"x": ["high"]}}, "'high', which is no number"),
        ({"prompt": "q"}, "'completions' is missing"),
        ({"prompt": "q", "completions": "a"}, "must be a list"),
    ],
)
def test_a_row_that_does_not_fit_the_first_is_named(tmp_path, row, words):
    path = write(tmp_path / "s.jsonl", [{"prompt": "p", "completions": ["a", "b"]}, row])
    with pytest.raises(DataError, match=words) as error:
        read_samples(path)
    assert "s.jsonl:row 2" in str(error.value)


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
