"""Every trainer's reward function gives the rewards of the model, over HTTP and in process."""

import asyncio
import importlib.util
import inspect

import pytest
import torch

from rewardsmith.clients import openrlhf, verl
from rewardsmith.clients.nemo import NemoRewardEnvironment
from rewardsmith.clients.openrlhf import openrlhf_reward_function
from rewardsmith.clients.swift import SwiftReward
from rewardsmith.clients.trl import trl_reward_function
from rewardsmith.clients.verl import verl_compute_score
from rewardsmith.errors import ConfigError, DataError

PROMPTS = ["is maybe", "good", "is maybe", "good"]
ANSWERS = [" fine", " awful", " nice", " fine"]


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


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


def test_trl_takes_texts_and_conversations_and_ignores_its_other_columns(source, plain, chats):
    reward = trl_reward_function(source, name="helpfulness")
    assert inspect.iscoroutinefunction(reward)
    assert reward.__name__ == "helpfulness"
    columns = {"completion_ids": [[1]] * 4, "trainer_state": None, "log_metric": print, "answer": ["x"] * 4}
    assert asyncio.run(reward(prompts=PROMPTS, completions=ANSWERS, **columns)) == plain
    messages = {"prompts": [user(p) for p in PROMPTS], "completions": [assistant(a) for a in ANSWERS]}
    assert asyncio.run(reward(**messages)) == chats


def test_trl_clips_on_wish(reward_model):
    rewards = asyncio.run(trl_reward_function(reward_model, clip=0.01)(PROMPTS, ANSWERS))
    assert max(map(abs, rewards)) <= 0.01


def test_openrlhf_scores_full_texts(source, plain):
    queries = [prompt + answer for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    answer = openrlhf_reward_function(source)(queries, PROMPTS, [None] * 4, extra="x")
    assert answer["rewards"] == plain
    assert all(0 < score < 1 for score in answer["scores"])
    assert openrlhf_reward_function(source)([], [], [])["rewards"] == []


def load_as_a_file(module):
    """Load a module by its path, as OpenRLHF and verl do."""
    spec = importlib.util.spec_from_file_location("custom", module.__file__)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_openrlhf_file_asks_the_server_of_the_environment(url, monkeypatch, reward_model):
    monkeypatch.setenv("REWARDSMITH_URL", url)
    reward_func = load_as_a_file(openrlhf).reward_func
    assert reward_func(["good"], ["p"], [None])["rewards"] == pytest.approx(
        reward_model.score_texts(["good"]), abs=1e-5
    )


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


def test_ms_swift_calls_it_as_reward_function_and_as_plugin(source, chats, monkeypatch):
    reward = SwiftReward(source=source)
    conversations = [user(p) + assistant(a) for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    assert reward(ANSWERS, messages=conversations, solution=["x"] * 4) == chats
    assert reward(inputs=[{"messages": conversation} for conversation in conversations]) == chats
    with pytest.raises(DataError, match="messages"):
        reward(ANSWERS)


def test_ms_swift_makes_it_without_arguments(monkeypatch, url):
    monkeypatch.delenv("REWARDSMITH_URL", raising=False)
    with pytest.raises(ConfigError, match="REWARDSMITH_URL"):
        SwiftReward()
    monkeypatch.setenv("REWARDSMITH_URL", url)
    assert len(SwiftReward(None)(["a"], messages=[user("a") + assistant("b")])) == 1


def test_nemo_ends_every_conversation_with_its_reward(source, chats):
    config = {"url": source} if isinstance(source, str) else {"scorer": source}
    environment = NemoRewardEnvironment(config)
    logs = [
        [{**message, "token_ids": torch.tensor([1])} for message in user(p) + assistant(a)]
        for p, a in zip(PROMPTS, ANSWERS, strict=True)
    ]
    result = environment.step(logs, [{"n": 1}] * 4)
    assert result.rewards.tolist() == chats
    assert result.terminateds.tolist() == [1.0] * 4
    assert len(result.observations) == len(result.next_stop_strings) == len(result.metadata) == 4
    batch = {"total_reward": result.rewards}
    assert environment.global_post_process_and_metrics(batch)[1]["mean_reward"] == pytest.approx(
        sum(result.rewards.tolist()) / 4
    )
