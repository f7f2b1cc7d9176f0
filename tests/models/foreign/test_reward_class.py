"""Reward classes behind AutoModel."""

from pathlib import Path

from rewardsmith.models.foreign import reward_class
from rewardsmith.models.foreign.folder import Folder


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_a_class_that_is_named_a_reward_model_is_known():
    assert reward_class.recognises(folder(auto_map={"AutoModel": "code.InternLM2ForRewardModel"}))
    assert not reward_class.recognises(folder(auto_map={"AutoModel": "code.InternLM2Model"}))
    assert not reward_class.recognises(folder())
