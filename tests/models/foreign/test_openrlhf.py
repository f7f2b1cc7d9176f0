"""OpenRLHF's folders."""

from pathlib import Path

from rewardsmith.models.foreign import openrlhf
from rewardsmith.models.foreign.folder import Folder


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_a_named_head_and_the_usual_ones_are_known_but_not_beside_own_code():
    assert openrlhf.recognises(folder("score.weight"))
    assert openrlhf.recognises(folder("mine.weight", value_head_prefix="mine"))
    assert not openrlhf.recognises(folder("other.weight"))
    assert not openrlhf.recognises(folder("score.weight", value_head_prefix="mine"))
    assert not openrlhf.recognises(folder("score.weight", auto_map={"AutoModel": "a.B"}))


def test_mean_and_deviation_are_read_from_the_config_or_are_not_there():
    assert openrlhf.statistics(folder(mean=1, std=2.5)) == (1.0, 2.5)
    assert openrlhf.statistics(folder(mean=1)) == (None, None)
