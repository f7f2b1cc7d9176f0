"""`rewardsmith runs` after two runs."""

import json

from rewardsmith.cli.main import main


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


ROWS = [{"prompt": "abcdefgh", "chosen": "ijklmnop", "rejected": "qrst"}] * 2


def test_the_command_prints_the_plan(command, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    code, out, _ = command("plan", "8B", "rows.jsonl", "--gpus", "8", "--tokens-per-second", "1000")
    assert code == 0
    for text in ("FSDP2", "given by --tokens-per-second", "16 x 7.50e9 / 8", "rewardsmith train --nproc 8"):
        assert text in out
    code, out, _ = command("plan", "70B", "rows.jsonl")
    assert code == 1
    assert "nothing fits" in out


def test_the_plan_is_one_json_object_and_impossible_resources_are_a_wrong_command_line(command, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    code, out, _ = command("plan", "8B", "rows.jsonl", "--gpus", "8", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["command"].startswith("rewardsmith train --nproc 8")
    assert found["seconds"] is None
    assert found["engine"] in {one["name"] for one in found["engines"] if one["fits"]}
    for flag, value, said in (
        ("--memory", "-1", "not -1 GB"),
        ("--gpus", "0", "gpus must"),
        ("--memory", "nan", "nan"),
    ):
        code, _, err = command("plan", "8B", "no such file", flag, value)
        assert code == 2
        assert said in err


def test_a_dry_run_prints_the_command(capsys):
    assert main(["launch", "--nproc", "1", "--dry_run", "train", "--max_steps", "3"]) == 0
    assert "-m rewardsmith train --max_steps 3" in capsys.readouterr().out


def test_another_command_is_refused(capsys):
    assert main(["launch", "--nproc", "2", "score"]) == 2
    assert "launch runs `train`" in capsys.readouterr().err


def test_flags_of_launch_may_stand_behind_train_and_a_wrong_one_starts_nothing(capsys):
    assert main(["launch", "train", "--nproc", "1", "--dry_run", "--max_steps", "3"]) == 0
    shown = capsys.readouterr().out
    assert "--nproc_per_node 1 -m rewardsmith train --max_steps 3\n" in shown
    assert main(["launch", "--nproc", "2", "train", "--modle", "x"]) == 2
    assert "unknown flag --modle; did you mean --model_name_or_path?" in capsys.readouterr().err
