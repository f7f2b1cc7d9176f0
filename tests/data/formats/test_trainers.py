"""Rows of NeMo-RL, ms-swift and Axolotl hold prompt, sides and their order."""

import pytest
from any_groups import groups
from hypothesis import given

from rewardsmith.data import load_preferences, parse_row
from rewardsmith.data.formats import TARGETS, llamafactory, trainers
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.formats.pairs import conversations
from rewardsmith.data.formats.trainers import to_axolotl_rows, to_nemo_rows
from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, Message, PreferenceGroup


@given(groups())
def test_nemo_rows_hold_the_order_of_the_pairs(group):
    (merged,) = merge_groups([parse_row(row) for row in to_nemo_rows(group)])
    prompt, completions = conversations(group)
    assert (merged.prompt, merged.completions) == (prompt, tuple(completions))
    assert [(c.better, c.worse) for c in merged.comparisons] == [(c.better, c.worse) for c in group.comparisons]


@given(groups(conversational=True))
@pytest.mark.parametrize("write_rows", [llamafactory.write_rows, trainers.to_swift_rows])
def test_tool_rows_hold_prompt_and_sides(write_rows, group):
    (merged,) = merge_groups([parse_row(row) for row in write_rows(group)])
    assert (merged.prompt, merged.completions) == (group.prompt, group.completions)


def test_axolotl_holds_a_system_message_and_one_turn():
    prompt = (Message("system", "be brief"), Message("user", "q"))
    group = PreferenceGroup(prompt, ((Message("assistant", "a"),), (Message("assistant", "b"),)), (Comparison(1, 0),))
    (row,) = to_axolotl_rows(group)
    assert row == {"system": "be brief", "input": "q", "chosen": "b", "rejected": "a"}
    assert parse_row(row).prompt == prompt
    with pytest.raises(DataError, match="one user turn"):
        to_axolotl_rows(PreferenceGroup((*prompt, *prompt), group.completions, group.comparisons))


def said(*turns):
    return tuple(Message(role, text) for role, text in turns)


def test_swift_rows_reject_by_text_or_by_conversation():
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]
    by_text = parse_row({"messages": messages, "rejected_response": "bad", "margin": 2})
    whole = [messages[0], {"role": "assistant", "content": "bad"}]
    assert parse_row({"messages": messages, "rejected_messages": whole, "margin": 2}) == by_text
    assert by_text.prompt == said(("user", "q"))
    assert by_text.comparisons[0].margin == 2


def test_axolotl_rows_have_one_turn():
    group = parse_row({"system": "s", "input": "q", "chosen": "a", "rejected": "b"})
    assert group.prompt == said(("system", "s"), ("user", "q"))


def test_a_swift_row_may_reject_by_the_other_answer_alone():
    turns = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]
    group = parse_row({"messages": turns, "rejected_messages": [{"role": "assistant", "content": "b"}]})
    assert (group.prompt, [c[0].content for c in group.completions]) == ((Message("user", "p"),), ["a", "b"])


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


def convert(*ratings, **extra):
    report = ConvertReport.empty()
    group = trainers.step_group("q", [f"s{n}" for n in range(len(ratings))], ratings, "row", extra)
    return convert_group(group, TARGETS["trl"], report), {k: n for k, n in (report.lost + report.refused).items() if n}


def test_judged_steps_become_stepwise_rows_and_come_back():
    rows, lost = convert(1, 0, -1, None)
    assert rows == [{"prompt": "q", "completions": ["s0", "s1", "s2"], "labels": [True, True, False]}]
    assert lost == {"unjudged steps at the end": 1, "neutral steps (written as right)": 1}
    assert parse_row(rows[0]).metadata["step_ratings"] == [1, 1, -1]
    assert convert(1, None, -1)[0] == []


def test_labels_of_steps_may_be_probabilities():
    group = parse_row({"prompt": "q", "completions": ["a", "b", "c"], "labels": [0.75, 0.0, 0.5]})
    assert group.metadata["step_ratings"] == [1, -1, 0]
    assert group.metadata["step_probabilities"] == [0.75, 0.0, 0.5]
    with pytest.raises(DataError, match=r"'labels\[0\]' is int -1; a label is true, false, a probability"):
        parse_row({"prompt": "q", "completions": ["a"], "labels": [-1]})
