"""TRL rows that are no pairs: steps and single answers with labels."""

import pytest

from rewardsmith.data import load_preferences, parse_row
from rewardsmith.errors import DataError
from rewardsmith.records import Message


def said(*turns):
    return tuple(Message(role, text) for role, text in turns)


def test_stepwise_rows_of_trl_keep_their_steps():
    row = {"prompt": "2+2?", "completions": ["Add.", "So 5."], "labels": [True, False], "task": "easy"}
    group = parse_row(row)
    assert group.completions == (said(("assistant", "Add.\nSo 5.")),)
    assert group.metadata["steps"] == ["Add.", "So 5."]
    assert group.metadata["step_ratings"] == [1, -1]
    assert group.metadata["first_error"] == 1
    assert group.metadata["task"] == "easy"
    with pytest.raises(DataError, match="one label a step"):
        parse_row({**row, "labels": [True]})
    with pytest.raises(DataError, match="judges no step"):
        parse_row({**row, "labels": [None, None]})


def test_unpaired_rows_of_trl_are_ratings_and_merge_by_prompt():
    rows = [
        {"prompt": "q", "completion": "good", "label": True},
        {"prompt": "q", "completion": "bad", "label": False},
    ]
    (group,) = load_preferences(rows)
    assert group.completions == ("good", "bad")
    assert group.ratings == {"label": (1.0, 0.0)}
    assert group.comparisons == ()
    chat = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    assert parse_row({**chat, "label": 1}).completions == (said(("assistant", "a")),)
