"""The live server of the tests."""

import pytest
from live_server import clients_python, process, reward_model, running, start_server, url
from trainer_calls import ANSWERS, PROMPTS, assistant, user

__all__ = ["clients_python", "process", "reward_model", "running", "start_server", "url"]


@pytest.fixture(scope="module")
def plain(reward_model):
    pairs = zip(PROMPTS, ANSWERS, strict=True)
    return pytest.approx([reward_model.score(prompt, answer) for prompt, answer in pairs], abs=1e-5)


@pytest.fixture(scope="module")
def chats(reward_model):
    pairs = zip(PROMPTS, ANSWERS, strict=True)
    return pytest.approx([reward_model.score(user(p), [assistant(a)])[0] for p, a in pairs], abs=1e-5)


@pytest.fixture(params=["over http", "in process"])
def source(request, url, reward_model):
    return url if request.param == "over http" else reward_model
