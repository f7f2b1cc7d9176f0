"""NeMo-RL's environment gives every conversation the reward of the model and ends it."""

import pytest
import torch
from trainer_calls import ANSWERS, PROMPTS, assistant, user

from rewardsmith.clients.nemo import NemoRewardEnvironment


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
