"""DeepSpeed-Chat's folders."""

from pathlib import Path

from rewardsmith.models.foreign import deepspeed_chat
from rewardsmith.models.foreign.folder import Folder


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_both_spellings_of_the_backbone_are_known_beside_the_head():
    assert deepspeed_chat.recognises(folder("v_head.weight", "rwtranrsformer.wte.weight"))
    assert deepspeed_chat.recognises(folder("v_head.weight", "rwtransformer.wte.weight"))
    assert not deepspeed_chat.recognises(folder("v_head.weight", "model.wte.weight"))
    assert not deepspeed_chat.recognises(folder("rwtranrsformer.wte.weight"))
