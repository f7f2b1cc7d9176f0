"""The table of rl commands names what was meant."""

from rewardsmith.cli.main import main


def test_an_unknown_command_is_answered_with_the_nearest(capsys):
    assert main(["rl", "best-of-m"]) == 2
    assert "unknown rl command 'best-of-m'" in capsys.readouterr().err
