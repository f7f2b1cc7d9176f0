"""The small commands of a project: `rewardsmith collect init`."""

from rewardsmith.cli.main import main


def test_flags_of_a_new_project_are_refused_for_one_that_exists(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "init", "p.yaml", "--task", "ranking"]) == 0
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "init", "p.yaml", "--task", "pair", "--overlap", "2"]) == 1
    assert "p.yaml exists, and --task and --overlap would change nothing" in capsys.readouterr().err
