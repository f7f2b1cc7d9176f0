"""`rewardsmith completion bash|zsh|tcsh`: a script that completes commands and flags in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module

from rewardsmith.cli.main import COMMANDS, SPREADSHEET, CommandParser, available_commands, part_of
from rewardsmith.errors import missing_extra

SHELLS = ("bash", "zsh", "tcsh")
# Commands with commands of their own, and the modules of those.
AREAS = ("data", "collect", "rl")
# Files of several commands whose `configure` takes the command's name.
SHARED = ("rewardsmith.cli.collect_project",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def run(args: argparse.Namespace) -> int:
    """Print the script. Returns 0."""
    try:
        import shtab
    except ImportError as error:
        raise missing_extra("shtab", "completion") from error
    print(shtab.complete(whole_parser(), shell=args.shell))
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser of all commands with all their flags."""
    parser = argparse.ArgumentParser(prog="rewardsmith")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(SPREADSHEET, action="store_true", help="write no formula into CSV or TSV")
    _add(parser, {name: COMMANDS[name] for name in available_commands()})
    return parser


def _add(parser: argparse.ArgumentParser, commands: Mapping[str, tuple[str, str]]) -> None:
    """Add commands below a parser."""
    choices = parser.add_subparsers(dest=f"{parser.prog} command")
    for name, (module, summary) in commands.items():
        command = import_module(module)
        made = getattr(command, "make_parser", CommandParser)(prog=f"{parser.prog} {name}", description=summary)
        if name in AREAS and parser.prog == "rewardsmith":
            _add(made, {inner: (f"rewardsmith.cli.{home}", text) for inner, (home, text) in command.COMMANDS.items()})
        elif module in SHARED:
            command.configure(made, name)
        else:
            part_of(command, "configure", name)(made)
        choices.add_parser(name, help=summary)
        choices.choices[name] = made  # type: ignore[index]
