"""Backbones with a linear value head: by what each tool's folder is told."""

from pathlib import Path

import foreign_layouts
import pytest
from foreign_layouts import listed
from safetensors.torch import save_file

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import ImportOptions
from rewardsmith.models.foreign.value_heads import (
    DEEPSPEED_CHAT,
    LLAMAFACTORY,
    OPENASSISTANT,
    OPENRLHF,
    TRL,
    base_of,
    statistics,
)


def test_a_whole_model_is_its_own_base_and_an_adapter_names_another(tmp_path):
    whole = Folder(tmp_path, {"model_type": "qwen2"}, {}, {})
    assert base_of(whole) == str(tmp_path)
    base = tmp_path / "base"
    base.mkdir()
    (tmp_path / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    assert Path(base_of(Folder(tmp_path, {}, {}, {}))) == base


def test_trl_has_its_head_among_the_weights():
    assert TRL.recognises(listed("v_head.summary.weight"))
    assert not TRL.recognises(listed("v_head.weight"))
    assert not TRL.recognises(listed(head=["v_head.summary.weight"]))


def test_llamafactory_has_its_head_in_a_file_of_its_own():
    assert LLAMAFACTORY.recognises(listed(head=["v_head.summary.weight"]))
    assert not LLAMAFACTORY.recognises(listed("v_head.summary.weight"))


def test_both_spellings_of_deepspeed_chats_backbone_are_known_beside_the_head():
    assert DEEPSPEED_CHAT.recognises(listed("v_head.weight", "rwtranrsformer.wte.weight"))
    assert DEEPSPEED_CHAT.recognises(listed("v_head.weight", "rwtransformer.wte.weight"))
    assert not DEEPSPEED_CHAT.recognises(listed("v_head.weight", "model.wte.weight"))
    assert not DEEPSPEED_CHAT.recognises(listed("rwtranrsformer.wte.weight"))


def test_a_named_head_of_openrlhf_and_the_usual_ones_are_known_but_not_beside_own_code():
    assert OPENRLHF.recognises(listed("score.weight"))
    assert OPENRLHF.recognises(listed("mine.weight", value_head_prefix="mine"))
    assert not OPENRLHF.recognises(listed("other.weight"))
    assert not OPENRLHF.recognises(listed("score.weight", value_head_prefix="mine"))
    assert not OPENRLHF.recognises(listed("score.weight", auto_map={"AutoModel": "a.B"}))


def test_mean_and_deviation_are_read_from_the_config_or_are_not_there():
    assert statistics(listed(mean=1, std=2.5)) == (1.0, 2.5)
    assert statistics(listed(mean=1)) == (None, None)


def test_the_class_or_the_weights_tell_open_assistant():
    assert OPENASSISTANT.recognises(listed(architectures=["GPTNeoXRewardModel"]))
    assert OPENASSISTANT.recognises(listed(model_type="gpt_neox_reward_model"))
    assert OPENASSISTANT.recognises(listed("out_proj.weight", "gpt_neox.embed_in.weight"))
    assert not OPENASSISTANT.recognises(listed("out_proj.weight"))


def test_a_config_of_open_assistant_without_a_head_is_refused():
    with pytest.raises(CheckpointError, match=r"no reward head out_proj\.weight"):
        OPENASSISTANT.load(listed(architectures=["GPTNeoXRewardModel"]), ImportOptions())


def test_weights_beside_llamafactorys_head_that_nothing_takes_are_named(tmp_path):
    path, _ = foreign_layouts.value_head(tmp_path / "llf", separate=True)
    head = foreign_layouts.draw(1, foreign_layouts.WIDTH)
    heads = {"v_head.summary.weight": head, "v_head.summary.bias": head[0, :1].clone(), "v_head.dense.weight": head + 1}
    save_file(heads, tmp_path / "llf" / "value_head.safetensors")
    assert any("does not take: v_head.dense.weight" in note for note in RewardModel.from_pretrained(path).notes)
