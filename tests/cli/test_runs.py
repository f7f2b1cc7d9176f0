"""`rewardsmith runs` after two runs."""

import json


def test_runs_are_listed_and_a_folder_without_any_is_an_error(command, tmp_path):
    record = {"model": "m", "data": "d.jsonl", "held_out": None, "settings": {"reward": {"loss_type": "hinge"}}}
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text(json.dumps(record))
    code, out, err = command("runs", tmp_path)
    assert code == 0, err
    assert "hinge" in out
    assert json.loads(command("runs", tmp_path, "--json")[1])[0]["name"] == "one"
    (tmp_path / "one" / "run.json").unlink()
    code, _, err = command("runs", tmp_path)
    assert code == 1
    assert "no run.json" in err
