"""Reward models through Python code that their folder brings."""

from pathlib import Path
from types import SimpleNamespace

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.own_code import MULTI_OBJECTIVE, REWARD_CLASS, objective_names


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_a_classifier_of_its_own_code_is_known():
    assert MULTI_OBJECTIVE.recognises(folder(auto_map={"AutoModelForSequenceClassification": "code.Armo"}))
    assert not MULTI_OBJECTIVE.recognises(folder(auto_map={"AutoModel": "code.Armo"}))


def test_objectives_have_the_names_of_the_config_where_their_number_fits():
    assert objective_names(SimpleNamespace(attributes=["a", "b"]), 2) == ["a", "b"]
    assert objective_names(SimpleNamespace(id2label={1: "y", 0: "x"}), 2) == ["x", "y"]
    assert len(objective_names(SimpleNamespace(attributes=["a"]), 3)) == 3


def test_a_class_that_is_named_a_reward_model_is_known():
    assert REWARD_CLASS.recognises(folder(auto_map={"AutoModel": "code.InternLM2ForRewardModel"}))
    assert not REWARD_CLASS.recognises(folder(auto_map={"AutoModel": "code.InternLM2Model"}))
    assert not REWARD_CLASS.recognises(folder())
