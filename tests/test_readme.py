"""Every block of README.md runs, and prints what it says it prints."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), flags=re.DOTALL)
TABLE_ROW = re.compile(r"^\| [^|]+ \| `(rewardsmith [^`]+)` \|$", flags=re.MULTILINE)
TABLE_COMMANDS = TABLE_ROW.findall(README.read_text())


def run(arguments, cwd):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.mark.slow
def test_the_blocks_run_in_order_and_print_what_they_say(tmp_path):
    printed = ""
    for language, text in BLOCKS:
        if language == "bash":
            for line in text.strip().splitlines():
                command = shlex.split(line)
                # The package is installed already; a test of the wheel covers that line.
                if command[:2] != ["pip", "install"]:
                    assert command[0] == "rewardsmith", line
                    run([sys.executable, "-m", *command], tmp_path)
        elif language == "python":
            (tmp_path / "block.py").write_text(text)
            printed = run([sys.executable, "block.py"], tmp_path)
        else:
            assert language == "text"
            lines = [line for line in printed.splitlines() if not line.startswith(("{", "train", "eval"))]
            assert lines == text.strip().splitlines()


def test_the_python_block_has_twelve_lines_of_code():
    (text,) = [text for language, text in BLOCKS if language == "python"]
    assert len([line for line in text.splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize("command", TABLE_COMMANDS)
def test_a_command_of_the_tables_is_understood(command):
    """Parse the command as the CLI does, resolve its recipe, and build its settings; training it is left out."""
    from importlib import import_module

    from rewardsmith.cli.main import COMMANDS, CommandParser, parse_strictly, part_of

    _, name, *arguments = shlex.split(command)
    module = import_module(COMMANDS[name][0])
    parser = getattr(module, "make_parser", CommandParser)(prog=f"rewardsmith {name}", description="")
    part_of(module, "configure", name)(parser)
    namespace = parse_strictly(parser, arguments)
    if name == "train":
        from rewardsmith.training.recipes import resolve

        resolved = resolve(parser, namespace, arguments)
        assert resolved.dataset_name == arguments[arguments.index("--dataset_name") + 1]


PAGES = sorted([README, README.parent / "CONTRIBUTING.md", *(README.parent / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(README.parent)))
def test_every_link_of_a_page_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_objective_of_the_table_exists():
    from rewardsmith.training.config import LOSS_TYPES

    for row in re.findall(r"\| `loss_type: ([^|]+)\|", README.read_text()):
        for name in re.findall(r"\w+", row.replace("`", " ").replace(" or ", " ")):
            assert name in LOSS_TYPES
