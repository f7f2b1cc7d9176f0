"""Rows of NeMo-RL, ms-swift and Axolotl hold prompt, sides and their order."""

import pytest
from any_groups import groups
from hypothesis import given

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import llamafactory, trainers
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
