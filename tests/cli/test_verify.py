"""`rewardsmith verify` prints a line a check and fails when one does."""

from rewardsmith.cli.main import main


def test_a_folder_without_a_contract_fails_with_a_line(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 1
    assert "FAIL  contract:" in capsys.readouterr().out
