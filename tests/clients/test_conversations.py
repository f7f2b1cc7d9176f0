"""Trainers' messages become the chat messages that templates read."""

import pytest

from rewardsmith.clients.conversations import chat_call, chat_messages, chat_tool, last_turn
from rewardsmith.errors import DataError


class Object:
    """A message of pydantic, as far as it is read."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, exclude_none):
        assert exclude_none
        return {key: value for key, value in self.fields.items() if value is not None}


def test_objects_and_dictionaries_become_chat_messages_without_reasoning():
    call = {"id": "c", "name": "add", "arguments": '{"a": 2}'}
    found = chat_messages(
        [
            {"role": "user", "content": "q", "name": None},
            Object(role="assistant", tool_calls=[call], reasoning_content="x"),
        ],
        "prompt",
    )
    function = {"name": "add", "arguments": {"a": 2}}
    assert found == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c", "function": function}]},
    ]
    assert chat_messages(found, "again") == found


@pytest.mark.parametrize("arguments", ["no JSON", "[1]", None])
def test_arguments_that_are_no_object_stay_as_they_are(arguments):
    assert chat_call({"name": "add", "arguments": arguments}, None)["function"]["arguments"] == arguments


def test_tools_become_functions():
    nested = {"type": "function", "function": {"name": "add"}}
    assert chat_tool(nested) == chat_tool(Object(name="add", strict=True)) == nested


def test_the_last_turn_is_what_the_assistant_said_last():
    talk = [{"role": role} for role in ("assistant", "tool", "assistant", "user")]
    assert last_turn(talk, "x") == (talk[:2], [talk[2]])
    with pytest.raises(DataError, match="x has neither a message nor a call"):
        last_turn(talk[1:2], "x")
    with pytest.raises(DataError, match=r"x\[0\] must be a message with a role"):
        chat_messages(["text"], "x")
