"""Texts become token ids; what is too long is cut only as the caller asked."""

from types import SimpleNamespace

import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.records import ScoreRequest
from rewardsmith.serving.refusals import Refusal
from rewardsmith.serving.requests import EncodingLimits, Truncation, encode_requests


class Letters:
    """One token a letter, at most six; cuts prompts at their start."""

    name, tokenizer, max_length = "letters", SimpleNamespace(), 6
    model = SimpleNamespace(config=SimpleNamespace(vocab_size=300))

    def encode(self, request):
        return [list((request.prompt + text).encode()) for text in request.completions]

    def cut_prompts(self, request, sequences):
        if any(len(text) > self.max_length for text in request.completions):
            raise ScoringError("the answer alone is too long")
        return [ids[-self.max_length :] for ids in sequences]


REQUEST = ScoreRequest("prompt", ("ab", ""))


def encode(truncation, model=None, request=REQUEST):
    steps = encode_requests(model or Letters(), [request], truncation, EncodingLimits(10))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(("side", "rows"), [("left", b"omptab"), ("right", b"prompt"), ("prompt", b"omptab")])
def test_what_is_cut_is_said_for_each_sequence(side, rows):
    encoded = encode(Truncation(side))
    assert [bytes(row) for row in encoded.rows] == [rows, b"prompt"]
    assert encoded.truncated == [True, False]


def test_without_a_wish_to_cut_the_first_long_sequence_is_named():
    with pytest.raises(Refusal, match="input 0, completion 0 has 8 tokens and the model reads 6") as caught:
        encode(None)
    assert caught.value.status == 422


def test_an_answer_that_is_too_long_is_not_cut_with_its_prompt():
    with pytest.raises(Refusal, match="the answer alone is too long") as caught:
        encode(Truncation("prompt"), request=ScoreRequest("p", ("x" * 7,)))
    assert caught.value.status == 422


def test_a_template_that_refuses_the_rest_of_a_prompt_is_the_callers_error():
    class Strict(Letters):
        def cut_prompts(self, request, sequences):
            raise RuntimeError("secret text")

    with pytest.raises(Refusal, match=r"cannot be cut: its rest cannot be rendered \(RuntimeError\)") as caught:
        encode(Truncation("prompt"), Strict())
    assert caught.value.status == 422
    assert "secret" not in str(caught.value)


def test_a_model_without_that_way_says_what_it_can():
    class Plain(Letters):
        cut_prompts = None

    with pytest.raises(Refusal, match="ask for left or right"):
        encode(Truncation("prompt"), Plain())
