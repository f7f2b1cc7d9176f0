"""Where the backbone of a value head lies."""

from pathlib import Path

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.linear_head import base_of


def test_a_whole_model_is_its_own_base_and_an_adapter_names_another(tmp_path):
    whole = Folder(tmp_path, {"model_type": "qwen2"}, {}, {})
    assert base_of(whole) == str(tmp_path)
    base = tmp_path / "base"
    base.mkdir()
    (tmp_path / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    assert Path(base_of(Folder(tmp_path, {}, {}, {}))) == base
