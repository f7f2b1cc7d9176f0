"""TRL's value heads."""

from pathlib import Path

from rewardsmith.models.foreign import trl_value_head
from rewardsmith.models.foreign.folder import Folder


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_the_head_stands_among_the_weights():
    assert trl_value_head.recognises(folder("v_head.summary.weight"))
    assert not trl_value_head.recognises(folder("v_head.weight"))
    assert not trl_value_head.recognises(folder(head=["v_head.summary.weight"]))
