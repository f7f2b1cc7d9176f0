"""Layouts that several data sets share: places, marked dialogues, scores."""

import pytest

from rewardsmith.data.sets import find
from rewardsmith.data.sets.entry import (
    MEAN,
    RatedAnswer,
    compare_by,
    file_stem,
    rating_columns,
    read_each,
    split_turns,
    subset_of,
)
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import PreferenceGroup

MARKS = {"Q:": "user", "A:": "assistant"}


def test_a_subset_is_the_file_or_the_folder_of_a_split():
    assert subset_of("helpful/train.jsonl.gz:row 3") == subset_of("helpful-test.jsonl.gz:row 3") == "helpful"
    assert file_stem("folder/name.jsonl.gz:row 3") == "name"
    assert file_stem("row 3") == ""


def test_a_bad_row_gives_its_error_and_reading_goes_on():
    def read_one(row, where):
        if not row:
            raise row_error(where, "empty", "the row is empty; remove it")
        return PreferenceGroup("q", ("a", "b"))

    first, second = read_each([("row 1", {}), ("row 2", {"x": 1})], read_one)
    assert (first.reason, second.prompt) == ("empty", "q")


def test_marked_turns_become_messages_and_what_is_no_conversation_is_refused():
    turns = split_turns("Q: hi A: yes", MARKS, "row 1", "text")
    assert [(turn.role, turn.content) for turn in turns] == [("user", "hi"), ("assistant", "yes")]
    with pytest.raises(RowError, match=r"row 1.*text must begin with 'Q:' or 'A:'"):
        split_turns("hello", MARKS, "row 1", "text")
    with pytest.raises(RowError, match="repair the turns"):
        split_turns("Q: one Q: two", MARKS, "row 1", "text")


def test_answers_compare_by_one_attribute_or_by_the_mean_of_those_they_have():
    answers = [RatedAnswer("a", None, {"x": 1.0, "y": 5.0}), RatedAnswer("b", None, {"x": 3.0})]
    assert [(c.better, c.outcome) for c in compare_by(answers, "x", "row 1")] == [(1, "better")]
    assert [c.outcome for c in compare_by(answers, MEAN, "row 1")] == ["tie"]
    assert rating_columns(answers) == {"x": (1.0, 3.0), "y": (5.0, None)}
    with pytest.raises(RowError, match="answer 1 has no score 'y'"):
        compare_by(answers, "y", "row 1")


def test_an_entry_says_where_it_is_published():
    assert find("skywork-reward-preference")[0].url.startswith("https://huggingface.co/datasets/Skywork/")
    assert find("dices")[0].url == "https://github.com/google-research-datasets/dices-dataset"
    assert find("dices")[0].paper_url == "https://arxiv.org/abs/2306.11247"
