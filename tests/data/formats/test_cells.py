"""A cell is accepted or refused by an error that names the row, the column and the reason it is counted under."""

import json
import math

import pytest

from rewardsmith.data.formats.cells import (
    check_flag,
    check_list,
    check_mapping,
    check_messages,
    check_number,
    check_objects,
    check_prompt,
    check_text,
    decode_messages,
    looks_like_messages,
    require,
)
from rewardsmith.errors import RowError
from rewardsmith.records import Message


@pytest.mark.parametrize(
    ("check", "value"),
    [(check_text, 3), (check_list, "a"), (check_mapping, [1]), (check_number, "x"), (check_flag, "maybe")],
)
def test_a_cell_of_another_kind_is_refused_with_row_and_column(check, value):
    with pytest.raises(RowError, match=r"pairs\.jsonl:row 3.*answer") as caught:
        check(value, "pairs.jsonl:row 3", "answer")
    assert caught.value.reason


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e39, "-1e39"])
def test_numbers_must_be_finite_in_the_precision_of_losses(value):
    assert check_number(2, "row 1", "score") == 2.0
    with pytest.raises(RowError, match="score"):
        check_number(value, "row 1", "score")


def test_a_missing_column_is_named():
    assert require({"prompt": "q"}, "prompt", "row 1") == "q"
    with pytest.raises(RowError, match="prompt") as caught:
        require({"question": "q"}, "prompt", "row 1")
    assert caught.value.reason == "missing column"


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SPELLINGS = {
    "JSON": json.dumps(TURNS),
    "Python": repr(TURNS),
    "a byte order mark": "\ufeff" + json.dumps(TURNS),
    "white space": "\t\n" + json.dumps(TURNS, indent=2),
    "another key first": json.dumps([{"name": None, **turn} for turn in TURNS]),
    "an array of numpy": f"array({TURNS!r}, dtype=object)",
    "one a line": "\n".join(map(json.dumps, TURNS)),
    "text inside text": json.dumps(json.dumps(TURNS)),
    "an object around them": json.dumps({"messages": TURNS}),
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_messages_as_text_are_read_in_every_spelling(text):
    assert looks_like_messages(text)
    assert [{k: turn[k] for k in ("role", "content")} for turn in decode_messages(text, "row 1", "chosen")] == TURNS


def test_one_message_as_text_is_read_as_a_prompt():
    assert check_prompt(repr(TURNS[0]), "row 1", "prompt") == (Message("user", "q"),)


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        '["a", "b"]',
        '{"role": "admin", "content": 3}',
        '{"model": "m", "messages": [{"role": "user", "content": "q"}]}',
    ],
)
def test_an_answer_that_is_json_of_its_own_stays_text(text):
    assert not looks_like_messages(text)


@pytest.mark.parametrize("text", ["[HumanMessage(content='q')]", "({'role': 'user', 'content': array(['q'])},)"])
def test_messages_as_text_that_cannot_be_read_are_refused(text):
    assert looks_like_messages(text)
    with pytest.raises(RowError, match="write it as JSON"):
        decode_messages(text, "row 1", "chosen")


def test_a_list_of_texts_is_no_content_of_a_message():
    with pytest.raises(RowError, match=r"chosen\[0\]\.content must be text or parts"):
        check_messages([{"role": "assistant", "content": ["a", "b"]}], "row 1", "chosen")


@pytest.mark.parametrize(
    "value", [[None, {"name": "f"}], ['{"name": "f"}'], '[{"name": "f"}]', "[{'name': 'f'}, None]"]
)
def test_tools_and_calls_are_objects_however_they_are_written(value):
    assert check_objects(value, "row 1", "tools") == [{"name": "f"}]
    (call,) = check_messages([{"role": "assistant", "content": None, "tool_calls": value}], "row 1", "chosen")
    assert call.extra == {"tool_calls": [{"name": "f"}]}


def test_a_call_that_is_no_object_is_named():
    with pytest.raises(RowError, match=r"chosen\[0\]\.tool_calls\[0\] must|chosen\[0\]\.tool_calls\[0\]' must"):
        check_messages([{"role": "assistant", "content": "a", "tool_calls": [3]}], "row 1", "chosen")
