"""A model folder is read by name, and what is missing or broken is said."""

import json

import torch
from safetensors.torch import save_file

from rewardsmith.models.foreign.folder import names_in, open_folder, read_config


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
