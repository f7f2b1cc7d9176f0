import json

import pytest

from rewardsmith.audit.samples import read_samples
from rewardsmith.errors import DataError


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
