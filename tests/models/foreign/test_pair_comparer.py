"""PairRM."""

from pathlib import Path

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.pair_comparer import LAYOUT


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_the_class_or_both_layers_of_the_head_tell():
    assert LAYOUT.recognises(folder(architectures=["DebertaV2PairRM"]))
    assert LAYOUT.recognises(folder("head_layer.1.weight", "head_layer.4.weight"))
    assert not LAYOUT.recognises(folder("head_layer.1.weight"))
