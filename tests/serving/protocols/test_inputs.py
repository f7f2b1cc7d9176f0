"""The forms of input that protocols share: one reading of texts, token ids and messages, refusals with status 422."""

import pytest

from rewardsmith.records import Message, TokenIds
from rewardsmith.serving.limits import Refusal
from rewardsmith.serving.protocols.inputs import document_text, requests_of, to_completion, to_messages


@pytest.mark.parametrize(
    ("value", "completions"),
    [
        ("a", [("a",)]),
        (["a", "b"], [("a",), ("b",)]),
        ([1, 2], [(TokenIds([1, 2]),)]),
        ([[1, 2], [3]], [(TokenIds([1, 2]),), (TokenIds([3]),)]),
    ],
)
def test_input_is_read_as_openai_defines_it(value, completions):
    assert [request.completions for request in requests_of(value)] == completions


def test_a_completion_is_a_text_ids_or_messages():
    assert to_completion("a", "x") == "a"
    assert to_completion([1, 2], "x") == TokenIds([1, 2])
    assert to_completion([{"role": "assistant", "content": "a"}], "x") == (Message("assistant", "a"),)


def test_a_document_is_a_text_or_holds_one():
    assert document_text("a") == document_text({"text": "a", "title": "b"}) == "a"


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (requests_of, [], "input is empty"),
        (to_messages, [{"content": "a"}], "message 0 needs a role"),
        (to_messages, [{"role": "user", "content": 3}], "the content of message 0"),
        (document_text, {"title": "a"}, 'an object with a "text"'),
    ],
)
def test_what_cannot_be_read_is_refused_as_the_callers_error(read, value, said):
    with pytest.raises(Refusal, match=said) as caught:
        read(value)
    assert caught.value.status == 422
