"""`rewardsmith launch` runs train in several processes."""

from rewardsmith.cli.main import main


def test_a_dry_run_prints_the_command(capsys):
    assert main(["launch", "--nproc", "1", "--dry_run", "train", "--max_steps", "3"]) == 0
    assert "-m rewardsmith train --max_steps 3" in capsys.readouterr().out


def test_another_command_is_refused(capsys):
    assert main(["launch", "--nproc", "2", "score"]) == 2
    assert "launch runs `train`" in capsys.readouterr().err
