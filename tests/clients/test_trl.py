"""TRL's reward function gives the rewards of the model, over HTTP and in process."""

import asyncio
import inspect

from trainer_calls import ANSWERS, PROMPTS, assistant, user

from rewardsmith.clients.trl import trl_reward_function


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
