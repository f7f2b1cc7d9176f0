"""verl's reward function and file give the rewards of the model."""

import asyncio
import inspect

import pytest
from trainer_calls import assistant, load_as_a_file, user

from rewardsmith.clients import verl
from rewardsmith.clients.verl import verl_compute_score
from rewardsmith.errors import DataError


def test_verl_reads_the_prompt_from_extra_info(source, reward_model):
    compute = verl_compute_score(source)
    text = asyncio.run(compute("data", " fine", None, {"prompt": "is maybe"}))
    assert text == pytest.approx(reward_model.score("is maybe", " fine"), abs=1e-5)
    chat = asyncio.run(compute("data", " fine", None, {"prompt": user("is maybe")}))
    assert chat == pytest.approx(reward_model.score(user("is maybe"), [assistant(" fine")])[0], abs=1e-5)
    with pytest.raises(DataError, match="extra_info"):
        asyncio.run(compute("data", " fine", None, {}))


def test_the_verl_file_asks_the_server_of_the_environment(url, monkeypatch, reward_model):
    monkeypatch.setenv("REWARDSMITH_URL", url)
    compute_score = load_as_a_file(verl).compute_score
    assert inspect.iscoroutinefunction(compute_score)
    reward = asyncio.run(compute_score("data", " fine", "truth", {"question": "is maybe"}))
    assert reward == pytest.approx(reward_model.score("is maybe", " fine"), abs=1e-5)
