"""OpenRLHF's remote reward: raw rewards, scores in (0, 1), empty shards."""

import math

from protocol_texts import OTHER, TEXT, near


def test_openrlhf(ask, expected):
    answer = ask("/get_reward", {"query": [TEXT, OTHER], "prompts": ["p", "p"], "labels": [None, None]})
    assert answer["rewards"] == near(expected)
    assert answer["scores"] == near([1 / (1 + math.exp(0.25 - value)) for value in expected])
    assert answer["extra_logs"]["raw_reward"] == near(expected)


def test_an_empty_shard_of_openrlhf_is_answered_with_empty_lists(ask):
    answer = ask("/get_reward", {"query": [], "prompts": [], "labels": []})
    assert answer == {"rewards": [], "scores": [], "extra_logs": {"raw_reward": []}}


def test_llamafactory(ask, expected):
    answer = ask("/v1/score/evaluation", {"model": "model", "messages": [TEXT, OTHER], "max_length": None})
    assert answer["object"] == "score.evaluation"
    assert answer["id"].startswith("scoreval-")
    assert answer["model"] == "model"
    assert answer["scores"] == near(expected)
