"""A model folder is read by name, and what is missing or broken is said."""

import json

import pytest
import torch
from safetensors.torch import save_file

from rewardsmith.errors import CheckpointError
from rewardsmith.models.checkpoint import load_reward_model
from rewardsmith.models.foreign.folder import (
    ENSEMBLE_FILE,
    member_folders,
    names_in,
    open_folder,
    read_config,
    write_members,
)


def test_weights_are_listed_without_reading_and_read_by_name(tmp_path):
    save_file({"a.weight": torch.ones(2), "b.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    folder = open_folder(str(tmp_path), {"architectures": ["Some"], "auto_map": {"AutoModel": "code.Class"}})
    assert sorted(folder.files) == ["a.weight", "b.weight"]
    assert folder.read(["a.weight"])["a.weight"].tolist() == [1, 1]
    assert (folder.architecture, folder.remote_class("AutoModel"), folder.remote_class("Other")) == (
        "Some",
        "Class",
        "",
    )
    assert not folder.is_adapter


def test_names_are_those_of_the_file(tmp_path):
    save_file({"b": torch.ones(1), "a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert sorted(names_in(tmp_path / "model.safetensors")) == ["a", "b"]


def test_a_config_is_read_and_a_folder_without_one_has_none(tmp_path):
    assert read_config(str(tmp_path)) == {}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert read_config(str(tmp_path))["model_type"] == "qwen2"


def test_a_folder_without_a_list_is_one_model(tmp_path):
    assert member_folders(str(tmp_path)) == [str(tmp_path)]


def test_a_list_names_folders_inside(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    write_members(tmp_path, ["a", "b"])
    assert member_folders(str(tmp_path)) == [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(CheckpointError, match="ensemble of 2 models; name one of them"):
        load_reward_model(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"members": ["../a", "b"]}', '{"members": ["a"]}', '{"members": 3}'])
def test_a_damaged_list_is_one_clear_line(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / ENSEMBLE_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=r"ensemble\.json (cannot be read|names)"):
        member_folders(str(tmp_path))
