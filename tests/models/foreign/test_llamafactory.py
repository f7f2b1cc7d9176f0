"""LLaMA-Factory's folders."""

from pathlib import Path

from rewardsmith.models.foreign import llamafactory
from rewardsmith.models.foreign.folder import Folder


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_the_head_stands_in_a_file_of_its_own():
    assert llamafactory.recognises(folder(head=["v_head.summary.weight"]))
    assert not llamafactory.recognises(folder("v_head.summary.weight"))
