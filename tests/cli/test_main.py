import json
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import rewardsmith.cli
from rewardsmith.cli.completion import AREAS, whole_parser
from rewardsmith.cli.main import COMMANDS, available_commands, finish_help, main, parse_strictly, usage


@pytest.mark.parametrize("name", available_commands())
def test_every_command_that_is_offered_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"rewardsmith {name}" in capsys.readouterr().out


@pytest.mark.parametrize("area", AREAS)
def test_the_usage_of_a_command_of_an_area_is_what_is_typed(area, capsys):
    for command in import_module(f"rewardsmith.cli.{area}").COMMANDS:
        with pytest.raises(SystemExit):
            main([area, command, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: rewardsmith {area} {command} ")
    assert main([area, "nothing-of-that-name"]) == 2
    assert f"unknown {area} command" in capsys.readouterr().err


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


@cache
def parser_of(name):
    """Return the finished parser of a command, its area before it."""
    parser = everything()
    for word in name.split():
        (commands,) = [a for a in parser._actions if isinstance(a.choices, dict)]
        parser = commands.choices[word]
    finish_help(parser, name)
    return parser


@cache
def everything():
    pytest.importorskip("trl")
    return whole_parser()


def examples():
    """Return (command, line) of every example."""
    text = (Path(rewardsmith.cli.__file__).parent / "examples.txt").read_text().split("\n\n", 1)[1]
    found, name = {}, ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("  "):
            found[name].append(line.strip())
        else:
            name = line
            found[name] = []
    return found


def test_every_command_has_examples_and_each_of_them_can_be_parsed():
    found = examples()
    inner = {f"{area} {name}" for area in AREAS for name in import_module(f"rewardsmith.cli.{area}").COMMANDS}
    assert set(found) == {*available_commands(), *inner} - set(AREAS)
    for name, lines in found.items():
        for line in lines:
            words = shlex.split(line.split(" > ")[0], comments=True)
            assert words[0] == "rewardsmith"
            own = words[1:3] if " " in name else words[1:2]
            if " ".join(own) == name:
                parse_strictly(parser_of(name), words[1 + len(own) :])


@pytest.mark.parametrize(
    "name", ["evaluate", "audit", "score", "rank", "serve", "data split", "train", "plan", "collect serve"]
)
def test_help_fits_80_columns_and_shows_examples_first(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = parser_of(name).format_help()
    # The long names of transformers' settings stand in lines of their own, which cannot be broken.
    assert [line for line in text.splitlines() if len(line) > 80 and not line.startswith("  --")] == []
    head = text.split("\n\n")
    assert head[0].startswith(f"usage: rewardsmith {name}")
    assert head[2].startswith("examples:\n  rewardsmith ")
    assert len(head[0].splitlines()) <= 2
