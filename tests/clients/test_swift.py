"""ms-swift's reward class gives the rewards of the model, however it is made and called."""

import pytest
from trainer_calls import ANSWERS, PROMPTS, assistant, user

from rewardsmith.clients.swift import SwiftReward
from rewardsmith.errors import ConfigError, DataError


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
