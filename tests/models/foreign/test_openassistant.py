"""Open-Assistant's folders."""

from pathlib import Path

import pytest

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign import openassistant
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import ImportOptions


def folder(*names, head=(), **config):
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def test_the_class_or_the_weights_tell():
    assert openassistant.recognises(folder(architectures=["GPTNeoXRewardModel"]))
    assert openassistant.recognises(folder(model_type="gpt_neox_reward_model"))
    assert openassistant.recognises(folder("out_proj.weight", "gpt_neox.embed_in.weight"))
    assert not openassistant.recognises(folder("out_proj.weight"))


def test_a_config_without_a_head_is_refused():
    with pytest.raises(CheckpointError, match=r"no reward head out_proj\.weight"):
        openassistant.load(folder(architectures=["GPTNeoXRewardModel"]), ImportOptions())
