"""Every setting of TRL's RewardConfig and of `trl reward` is there, with its default."""

import dataclasses

import pytest
import trl
from trl.scripts.utils import DatasetConfig

import rewardsmith
from rewardsmith.data.mixing import MixtureSource
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments

# Resolved when the object is made; docs/migrating-from-trl.md gives the reason of each.
OTHERWISE = {"bf16", "pad_to_multiple_of", "average_tokens_across_devices", "dataloader_pin_memory"}
PAIRS = {
    "RewardConfig": (trl.RewardConfig, rewardsmith.RewardConfig, set()),
    "ScriptArguments": (trl.ScriptArguments, ScriptArguments, set()),
    "ModelConfig": (trl.ModelConfig, ModelConfig, {"lora_task_type"}),
    # A mixture is one of two ways to name data; TRL makes the list anew for every object.
    "DatasetMixtureConfig": (trl.DatasetMixtureConfig, DatasetMixtureConfig, {"datasets"}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_fields_and_defaults_are_those_of_trl(name):
    theirs, ours, different = PAIRS[name]
    known = {f.name: f.default for f in dataclasses.fields(ours)}
    for field in dataclasses.fields(theirs):
        assert field.name in known
        if field.name not in different:
            assert known[field.name] == field.default, field.name


def test_an_entry_of_a_mixture_is_that_of_trl():
    known = MixtureSource.model_fields
    for field in dataclasses.fields(DatasetConfig):
        assert known[field.name].is_required() or known[field.name].default == field.default


def test_values_of_a_config_are_those_of_trl(tmp_path):
    theirs, ours = (
        library.RewardConfig(str(tmp_path), use_cpu=True, report_to="none").to_dict() for library in (trl, rewardsmith)
    )
    assert {name for name, value in theirs.items() if ours.get(name, "missing") != value} <= OTHERWISE
