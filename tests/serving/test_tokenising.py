"""A long request holds nobody up; one that is given up, refused or broken leaves the thread to the others."""

import asyncio
import threading

import pytest

from rewardsmith.records import ScoreRequest
from rewardsmith.serving.refusals import Refusal, invalid
from rewardsmith.serving.requests import EncodingLimits
from rewardsmith.serving.tokenising import Tokeniser


class Letters:
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
    model = model or Letters()

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
