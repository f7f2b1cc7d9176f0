"""OpenRLHF's reward function and file give the rewards of the model."""

import pytest
from trainer_calls import ANSWERS, PROMPTS, load_as_a_file

from rewardsmith.clients import openrlhf
from rewardsmith.clients.openrlhf import openrlhf_reward_function


def test_openrlhf_scores_full_texts(source, plain):
    queries = [prompt + answer for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    answer = openrlhf_reward_function(source)(queries, PROMPTS, [None] * 4, extra="x")
    assert answer["rewards"] == plain
    assert all(0 < score < 1 for score in answer["scores"])
    assert openrlhf_reward_function(source)([], [], [])["rewards"] == []


def test_the_openrlhf_file_asks_the_server_of_the_environment(url, monkeypatch, reward_model):
    monkeypatch.setenv("REWARDSMITH_URL", url)
    reward_func = load_as_a_file(openrlhf).reward_func
    assert reward_func(["good"], ["p"], [None])["rewards"] == pytest.approx(
        reward_model.score_texts(["good"]), abs=1e-5
    )
