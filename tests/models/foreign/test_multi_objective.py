"""Heads with several objectives."""

from pathlib import Path
from types import SimpleNamespace

from rewardsmith.models.foreign import multi_objective
from rewardsmith.models.foreign.folder import Folder


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_a_classifier_of_its_own_code_is_known():
    assert multi_objective.recognises(folder(auto_map={"AutoModelForSequenceClassification": "code.Armo"}))
    assert not multi_objective.recognises(folder(auto_map={"AutoModel": "code.Armo"}))


def test_objectives_have_the_names_of_the_config_where_their_number_fits():
    assert multi_objective.objective_names(SimpleNamespace(attributes=["a", "b"]), 2) == ["a", "b"]
    assert multi_objective.objective_names(SimpleNamespace(id2label={1: "y", 0: "x"}), 2) == ["x", "y"]
    assert len(multi_objective.objective_names(SimpleNamespace(attributes=["a"]), 3)) == 3
