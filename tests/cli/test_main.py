import json
import subprocess
import sys

import pytest

from rewardsmith.cli.main import COMMANDS, available_commands, main, usage


@pytest.mark.parametrize("name", available_commands())
def test_every_command_that_is_offered_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"rewardsmith {name}" in capsys.readouterr().out


def test_help_lists_only_commands_that_can_run():
    text = usage()
    for name, (_, summary) in COMMANDS.items():
        assert (summary in text) == (name in available_commands())


def test_a_command_that_is_not_built_in_is_unknown(monkeypatch, capsys):
    monkeypatch.setitem(COMMANDS, "absent", ("rewardsmith.cli.absent", "nothing"))
    assert main(["absent"]) == 2
    assert "unknown command 'absent'" in capsys.readouterr().err


def test_version_and_help_print_and_succeed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2
    assert main([]) == 0
    assert "usage: rewardsmith" in capsys.readouterr().out


def test_the_command_line_starts_without_torch():
    code = "import sys; from rewardsmith.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip().endswith("False")


def test_a_file_that_cannot_be_written_is_one_line(command, pairs_file, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    flags = ("--from_config", "tiny", "--dataset_name", pairs_file, "--max_steps", "1", "--use_cpu", "true")
    code, _, err = command("train", *flags, "--output_dir", "out")
    assert code == 1
    assert "Traceback" not in err
    assert "out" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "rows.csv"], "did you mean 'data inspect'"),
        (["ppo"], "did you mean 'rl ppo'"),
        (["evaluate", "--model", "m", "rows.csv"], "MODEL is given without a flag: rewardsmith evaluate MODEL DATA"),
        (["score", "--model", "m"], "MODEL is given without a flag: rewardsmith score MODEL INPUT OUT"),
        (["evaluate", "m", "rows.csv", "--model-c"], "did you mean --model-card"),
        (["data", "split", "rows.csv", "b=.2", "--out", "s"], "rows.csv"),
    ],
)
def test_what_people_type_first_is_answered_with_what_they_meant(words, said, capsys):
    assert main(words) in (1, 2)
    assert said in capsys.readouterr().err


def test_any_command_writes_tables_without_formulas(command, tmp_path):
    row = {"prompt": "=1+1", "completions": ["-a", "b"], "rewards": [1.0, -2.0]}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    command("rank", "in.jsonl", "out.csv", "--spreadsheet-cells")
    assert "'=1+1" in (tmp_path / "out.csv").read_text()
