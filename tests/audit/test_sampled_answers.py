"""x"""

import json
import math

import numpy as np
import pytest

from rewardsmith.audit.sampled_answers import (
    Reading,
    draw_groups,
    final_number,
    load_data,
    parse_data,
    rate_final_numbers,
    read_samples,
)
from rewardsmith.data import load_preferences
from rewardsmith.errors import ConfigError, DataError
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


OPTIONS = {"split": None, "limit": None, "on_error": "raise"}
PLAIN = Reading(options=OPTIONS)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": "good", "rejected": "bad"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.jsonl", ("b", "a/b.jsonl", None)),
        ("b.jsonl.gz", ("b", "b.jsonl.gz", None)),
        ("x=b.jsonl", ("x", "b.jsonl", None)),
        ("x=b.jsonl:hh-rlhf", ("x", "b.jsonl", "hh-rlhf")),
        ("b.json:webgpt:stripped", ("b", "b.json", "webgpt:stripped")),
        ("org/set", ("set", "org/set", None)),
        ("data/k=v/b.jsonl", ("b", "data/k=v/b.jsonl", None)),
    ],
)
def test_name_path_and_reader_are_told_apart(text, expected):
    assert parse_data(text) == expected


def test_a_file_that_exists_as_it_is_written_is_not_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b:c.jsonl").write_text("")
    assert parse_data("a=b:c.jsonl") == ("a=b:c", "a=b:c.jsonl", None)


def test_each_of_several_sets_is_a_source_of_its_own(file, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(file.read_text())
    data = load_data([f"first={file}", str(other)], PLAIN)
    assert data.names == ["first", "other"]
    assert {group.source for group in data.groups} == {"first", "other"}
    assert data.name == "first, other"


def test_dropped_rows_are_counted_by_reason_and_set(file):
    file.write_text(file.read_text() + '{"prompt": "p", "chosen": 5, "rejected": "x"}\n')
    with pytest.raises(DataError):
        load_data([str(file)], PLAIN)
    data = load_data([str(file)], Reading(options={**OPTIONS, "on_error": "count"}))
    assert (len(data.groups), sum(data.dropped.values())) == (4, 1)
    assert data.notes[0].startswith("pairs: dropped 1 rows")


def test_drawn_groups_keep_their_order_and_depend_on_the_seed():
    groups = [PreferenceGroup(f"p{i}", ("a",)) for i in range(50)]
    drawn = draw_groups(groups, 10, 0)
    assert drawn == draw_groups(groups, 10, 0)
    assert drawn != draw_groups(groups, 10, 1)
    assert [groups.index(group) for group in drawn] == sorted(groups.index(group) for group in drawn)
    assert draw_groups(groups, 99, 0) is groups


def test_two_sets_of_one_name_are_an_error(file):
    with pytest.raises(ConfigError, match="named 'pairs'"):
        load_data([str(file), str(file)], PLAIN)


def test_a_benchmark_is_read_in_its_published_layout(tmp_path):
    path = tmp_path / "rm-bench.json"
    row = {"id": 1, "domain": "chat", "prompt": "p", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}
    path.write_text(json.dumps([row]))
    data = load_data([f"{path}:rm-bench"], PLAIN)
    assert data.name == "rm-bench"
    assert len(data.groups) >= 1
