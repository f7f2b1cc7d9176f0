"""The list of an ensemble's members."""

import pytest

from rewardsmith.errors import CheckpointError
from rewardsmith.models.checkpoint import load_reward_model
from rewardsmith.models.member_folders import ENSEMBLE_FILE, member_folders, write_members


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
