"""Shells complete what the commands declare."""

import subprocess

import pytest

pytest.importorskip("shtab", reason="rewardsmith[completion] is not installed")

from rewardsmith.cli.completion import whole_parser
from rewardsmith.cli.main import available_commands, main


def test_every_command_and_flag_stands_in_the_parser():
    (commands,) = [a for a in whole_parser()._actions if hasattr(a, "choices") and a.choices]
    assert list(commands.choices) == available_commands()
    flags = commands.choices["train"]._option_string_actions
    assert {"--dataset_name", "--tokens_per_batch", "--use_peft"} <= set(flags)
    (data,) = [a for a in commands.choices["data"]._actions if isinstance(a.choices, dict)]
    assert "--shares" in data.choices["split"]._option_string_actions


def test_bash_completes_a_command_and_a_flag(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    ask = f"""source {script}
complete_of() {{ COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=(); _shtab_rewardsmith
printf '%s\\n' "${{COMPREPLY[@]}}"; }}
complete_of rewardsmith eva
complete_of rewardsmith score --trunc
complete_of rewardsmith data spl"""
    found = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert found == ["evaluate", "--truncate-prompt", "split"]
