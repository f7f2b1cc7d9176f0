"""Texts become token ids; what is too long is cut only as the caller asked."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.scorer import Fitted
from rewardsmith.serving.limits import Refusal, invalid
from rewardsmith.serving.requests import EncodingLimits, Tokeniser, Truncation, encode_requests


class Letters:
    """One token a letter, at most six; cuts prompts at their start."""

    name, tokenizer, max_length = "letters", SimpleNamespace(), 6
    model = SimpleNamespace(config=SimpleNamespace(vocab_size=300))

    def encode(self, request, whole=False):
        return [list((request.prompt + text).encode()) for text in request.completions]

    def fit(self, request, truncation=None, limit=None):
        if any(len(text) > self.max_length for text in request.completions):
            raise ScoringError("the answer alone is too long")
        rows = self.encode(request)
        return Fitted([ids[-self.max_length :] for ids in rows], [len(ids) > self.max_length for ids in rows])


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
        def fit(self, request, truncation=None, limit=None):
            raise RuntimeError("secret text")

    with pytest.raises(Refusal, match=r"cannot be rendered or tokenised \(RuntimeError\)") as caught:
        encode(Truncation("prompt"), Strict())
    assert caught.value.status == 422
    assert "secret" not in str(caught.value)


def test_a_model_without_that_way_says_what_it_can():
    class Plain(Letters):
        fit = None

    with pytest.raises(Refusal, match="ask for left or right"):
        encode(Truncation("prompt"), Plain())


class SlowLetters:
    """One token a letter; notes the order in which texts are read and waits on the letter W."""

    name, max_length, tokenizer = "letters", 1000, [0] * 300

    def __init__(self):
        self.read = []
        self.going = threading.Event()

    def encode(self, request):
        text = request.completions[0]
        self.read.append(text)
        if text == "W":
            assert self.going.wait(10)
        if text == "panic":
            raise BaseException("like a tokenizer that panics")
        return [list(text.encode())]


def requests(*texts):
    return lambda: [ScoreRequest("", texts)]


def run(scenario, model=None):
    model = model or SlowLetters()

    async def started():
        tokeniser = Tokeniser(model, EncodingLimits(max_sequences=100, max_tokens=500))
        try:
            return await asyncio.wait_for(scenario(tokeniser, model), 20)
        finally:
            model.going.set()
            await asyncio.to_thread(tokeniser.stop)

    return asyncio.run(started())


def test_requests_take_turns_a_text_at_a_time():
    async def scenario(tokeniser, model):
        long = asyncio.create_task(tokeniser.encode(requests("W", "a", "b", "c", "d"), None))
        while not model.read:
            await asyncio.sleep(0.001)
        short = asyncio.create_task(tokeniser.encode(requests("s"), None))
        await asyncio.sleep(0.01)
        model.going.set()
        await asyncio.gather(long, short)
        assert model.read.index("s") < model.read.index("c")

    run(scenario)


def test_what_one_request_breaks_is_its_own():
    async def scenario(tokeniser, model):
        def broken():
            raise invalid("no such thing")

        for build in (requests("panic"), broken):
            with pytest.raises(Refusal) as caught:
                await tokeniser.encode(build, None)
            assert caught.value.status == 422
        with pytest.raises(RuntimeError, match="KeyError"):
            await tokeniser.encode(lambda: {}["secret"], None)
        assert (await tokeniser.encode(requests("ok"), None)).rows == [[111, 107]]

    run(scenario)


def test_a_request_that_is_given_up_is_not_read_to_its_end():
    async def scenario(tokeniser, model):
        task = asyncio.create_task(tokeniser.encode(requests("W", "left"), None))
        while not model.read:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        model.going.set()
        await tokeniser.encode(requests("next"), None)
        assert model.read == ["W", "next"]

    run(scenario)


def test_too_many_tokens_in_all_end_the_work_at_once():
    async def scenario(tokeniser, model):
        with pytest.raises(Refusal) as caught:
            await tokeniser.encode(requests(*["x" * 200] * 50), None)
        assert caught.value.status == 413
        assert len(model.read) == 3

    run(scenario)
