"""What a client sends and how it reads what comes, without a server."""

import httpx
import pytest

from rewardsmith.clients.exchange import (
    ClientOptions,
    chat_call,
    chat_messages,
    chat_tool,
    check_answer,
    cut_calls,
    last_turn,
    pause_seconds,
    read_addresses,
    read_card,
    read_rewards,
    reward_body,
    should_retry,
    shown_name,
)
from rewardsmith.errors import ConfigError, DataError, ScoringError, UnreachableError
from rewardsmith.records import ScoreRequest


def test_keys_in_addresses_are_kept_apart_and_never_shown():
    addresses = read_addresses("http://any:s%40cret@host:1/, https://other")
    assert shown_name(addresses) == "http://host:1,https://other"
    assert addresses[0].auth == ("any", "s@cret")
    with pytest.raises(ConfigError) as caught:
        read_addresses("ftp://any:secret@host")
    assert "secret" not in str(caught.value)


def test_work_is_cut_between_prompts_and_never_inside_one():
    sizes = [3, 2, 5, 1]
    requests = [ScoreRequest("q", tuple("a" * n)) for n in sizes]
    calls = list(cut_calls(requests, 4))
    assert [[len(request.completions) for request in call] for call in calls] == [[3], [2], [5], [1]]


def test_the_body_holds_what_was_asked():
    body = reward_body([ScoreRequest("q", ("a", "b"))], ClientOptions(normalized=True), with_parts=True)
    assert body["inputs"] == [{"completions": ["a", "b"], "prompt": "q"}]
    assert (body["normalized"], body["truncate"], body["return_parts"]) == (True, None, True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"results": [{"rewards": [1.0]}], "normalized": False}, "another number of rewards"),
        ({"results": [{"rewards": [1.0, 2.0]}], "normalized": True}, "answered normalized=True"),
        ({"results": [{"rewards": [1.0, None]}], "normalized": False}, "not a finite number"),
    ],
)
def test_an_answer_to_another_question_is_refused(answer, message):
    with pytest.raises(ScoringError, match=message):
        read_rewards(answer, [ScoreRequest("q", ("a", "b"))], ClientOptions(), with_parts=False)


@pytest.mark.parametrize("answer", [{}, [], None, {"data": []}, {"data": [3]}])
def test_an_answer_that_names_no_model_is_refused(answer):
    with pytest.raises(ScoringError, match="names no model"):
        read_card(answer)


def test_a_busy_server_is_asked_again_after_the_pause_it_names():
    busy = httpx.Response(503, headers={"retry-after": "2"}, json={"error": {"message": "full\x1b[2J"}})
    assert should_retry(busy)
    assert 2.0 <= pause_seconds(busy, 1) <= 2.5
    assert pause_seconds(busy, 1, num_addresses=2) == 0.0
    odd = httpx.Response(503, headers=[(b"retry-after", "²".encode())])
    assert 0.25 <= pause_seconds(odd, 1) <= 0.5
    with pytest.raises(UnreachableError, match=r"answered 503 after 4 attempts: full \[2J"):
        check_answer(busy, "http://host", 4)
    with pytest.raises(UnreachableError, match="answered 502 after 3 attempts, without JSON"):
        check_answer(httpx.Response(502, text="<html>Bad Gateway"), "http://host", 3)
    with pytest.raises(ScoringError, match="without JSON; is it the right server"):
        check_answer(httpx.Response(200, text="<html>"), "http://host", 1)


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
