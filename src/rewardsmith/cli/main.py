"""`rewardsmith COMMAND ...`: find the command's file, run it, and turn errors into one clean line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from rewardsmith._version import __version__
from rewardsmith.cli.options import check_outputs, check_place, say_cut
from rewardsmith.errors import ELSEWHERE, MEANT, RewardsmithError, UsageError, kept, nearest, nearest_or_known, said
from rewardsmith.files.standard import standard_streams

# Headings of --help, and how the flags below them begin; a command's own groups stand beside them.
GROUPS = {
    "rows that are read": "reader split limit columns score_margin skip_bad draw train_data data",
    "what is written": "json html png rows model_card save_temperature reward_bench out overwrite",
}
# A flag of every command, as --debug is.
SPREADSHEET = "--spreadsheet-cells"
# Command of an area -> (module below rewardsmith.cli, one-line summary).
Commands = Mapping[str, tuple[str, str]]
# Command -> (module, one-line summary). The module is imported only when its command is run.
COMMANDS = {
    "demo": ("rewardsmith.cli.demo", "the whole path on an embedded data set and model, no network"),
    "data": ("rewardsmith.cli.data", "inspect, check, convert, split, merge, overlap, simulate, list"),
    "collect": ("rewardsmith.cli.collect", "human judgements: a web page, agreement, panels, duels, export"),
    "train": ("rewardsmith.cli.train", "train a reward model (the flags and YAML of `trl reward`, plus ours)"),
    "launch": ("rewardsmith.cli.runs", "train in several processes on this machine"),
    "plan": ("rewardsmith.cli.runs", "steps, tokens, memory and time of a run before it is started"),
    "runs": ("rewardsmith.cli.runs", "a table of the runs in a folder: accuracy, interval, data, objective"),
    "doctor": ("rewardsmith.cli.doctor", "find what would silently ruin a run, before it runs"),
    "evaluate": ("rewardsmith.cli.evaluate", "accuracy with intervals, baselines, calibration, benchmarks"),
    "audit": ("rewardsmith.cli.audit", "length, style, invariance and over-optimisation audits, one report"),
    "compare": ("rewardsmith.cli.evaluate", "two models on the same rows: paired tests and flipped rows"),
    "score": ("rewardsmith.cli.score", "score files of any size, resumable"),
    "reward": ("rewardsmith.cli.reward", "the rewards of answers that are typed, without a file"),
    "rank": ("rewardsmith.cli.score", "best-of-n, rejection sampling, top and bottom pairs"),
    "export": ("rewardsmith.cli.models", "write any reward model in the standard layout and check parity"),
    "laplace": ("rewardsmith.cli.models", "how sure is a model: a Laplace approximation of its last layer"),
    "average": ("rewardsmith.cli.models", "one model of several: the mean of their weights, its scale set anew"),
    "verify": ("rewardsmith.cli.models", "is a saved model still what it was: contract, files, golden rewards"),
    "rl": ("rewardsmith.cli.rl", "optimise against a reward: GRPO, RLOO, PPO, RAFT, best of n"),
    "env": ("rewardsmith.cli.env", "versions, devices and threads of this machine, for a bug report"),
    "completion": ("rewardsmith.cli.completion", "completion of commands and flags in bash, zsh or tcsh"),
    "serve": ("rewardsmith.cli.serve", "serve a reward model over HTTP in the protocols of other tools"),
}


def available_commands() -> list[str]:
    """Name the commands whose module is installed; a build may leave some out."""
    return [name for name, (module, _) in COMMANDS.items() if find_spec(module) is not None]


def usage() -> str:
    """Return the text of `rewardsmith --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {COMMANDS[name][1]}" for name in available_commands())
    return (
        f"rewardsmith {__version__}: from human judgements to a reward that can be trusted\n\n"
        f"usage: rewardsmith COMMAND [options]   (rewardsmith COMMAND --help)\n\n{rows}\n\n"
        "  --version  print the version\n  --debug    show the traceback of an error\n"
        f"  {SPREADSHEET}  write no formula into CSV or TSV: an apostrophe goes before = + - @\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 success, 1 a check failed or an error, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug, for_spreadsheets = "--debug" in arguments, SPREADSHEET in arguments
    arguments = [a for a in arguments if a not in ("--debug", SPREADSHEET)]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    name, *rest = arguments
    known = available_commands()
    if name not in known:
        near = ELSEWHERE.get(name) or nearest(name, known)
        hint = f"; did you mean '{near}'?" if near else "; see rewardsmith --help"
        print(f"rewardsmith: unknown command {name!r}{hint}", file=sys.stderr)
        return 2
    # Tables load only where they are asked for.
    cells = import_module("rewardsmith.files.tables").spreadsheet_cells if for_spreadsheets else nullcontext
    with cells():
        return _run(name, rest, debug)


def _run(name: str, arguments: list[str], debug: bool) -> int:
    """Run one command; the one place where errors are caught."""
    try:
        return run_command(name, *COMMANDS[name], arguments)
    except BrokenPipeError:
        # The reader of our output (head, less) went away: that is not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RewardsmithError, OSError) as error:
        if debug:
            raise
        print(f"rewardsmith {name}: error: {said(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except MemoryError:
        if debug:
            raise
        print(f"rewardsmith {name}: error: the model or the data do not fit into memory", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        # A second Ctrl-C, while libraries end, acts at once and prints nothing.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print(f"\nrewardsmith {name}: {str(error) or kept(name, {})}", file=sys.stderr)
        # As shells count: 128 and the number of the signal, which training names.
        return 128 + int(getattr(error, "number", signal.SIGINT))


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of printing its usage and leaving.

    A flag is not known by its first letters: `evaluate --model NAME` would be `--model-card`, which writes.
    """

    def __init__(self, prog: str | None = None, description: str | None = None) -> None:
        super().__init__(prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise `message`."""
        raise UsageError(f"{message}; see {self.prog} --help")


def parse_strictly(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse `arguments`; the namespace also holds them as `given`.

    Raises:
        UsageError: a flag that is not known; the message names the nearest.
    """
    _require_no_flagged_place(parser, arguments)
    namespace, unknown = parser.parse_known_args(arguments)
    namespace.given = list(arguments)
    if not unknown:
        return namespace
    flag = unknown[0].split("=")[0]
    if not flag.startswith("-"):
        raise UsageError(f"unexpected argument {unknown[0]!r}; see {parser.prog} --help")
    near = _nearest_flag(flag, _flags(parser))
    raise UsageError(f"unknown flag {flag}; {f'did you mean {near}?' if near else f'see {parser.prog} --help'}")


def _require_no_flagged_place(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Raise UsageError for a flag with the name of an argument that is told by its place."""
    places, flags = [action.dest for action in parser._actions if not action.option_strings], _flags(parser)
    for flag in (word.split("=")[0] for word in arguments if word.startswith("--")):
        if flag[2:] in places and flag not in flags and "arguments" not in places:
            order = " ".join(place.upper() for place in places)
            raise UsageError(f"{flag[2:].upper()} is given without a flag: {parser.prog} {order}")


def _nearest_flag(flag: str, known: list[str]) -> str | None:
    """Return the known flag that was meant: one of the usual short names, one that begins alike, or the closest."""
    means = {short: name for short, name in MEANT.items() if name in known} | {name: name for name in known}
    alike = [name for name in known if name.startswith(flag) or name.endswith(flag.lstrip("-"))]
    near = means.get(flag.replace("_", "-")) or (min(alike, key=len) if alike else nearest(flag, means))
    return means.get(near or "")


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """List the long flags of a parser and of its subcommands."""
    return [flag for action in _actions(parser) for flag in action.option_strings if flag.startswith("--")]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)


def run_command(name: str, module_name: str, summary: str, arguments: list[str]) -> int:
    """Import a command, parse its arguments and run it. Returns its exit code.

    A command may bring its own `make_parser(prog, description)`.
    """
    command = import_module(module_name)
    make_parser = getattr(command, "make_parser", CommandParser)
    parser = make_parser(prog=f"rewardsmith {name}", description=summary)
    part_of(command, "configure", name)(parser)
    finish_help(parser, name)
    args = parse_strictly(parser, arguments)
    check_place(args)
    check_outputs(args)
    try:
        with standard_streams(name, vars(args)):
            return int(part_of(command, "run", name)(args) or 0)
    except KeyboardInterrupt as error:
        raise error if str(error) else KeyboardInterrupt(kept(name, vars(args))) from None
    finally:
        say_cut(args)


def finish_help(parser: argparse.ArgumentParser, name: str) -> None:
    """Put a command's examples above its flags, its usage into one line, and flags of one kind under one heading."""
    if parser.usage is None:
        places = [
            (str(action.metavar or action.dest.upper()), action.nargs) for action in parser._positionals._group_actions
        ]
        shown = (
            f"[{p}]" if n == "?" else f"{p} [{p} ...]" if n == "+" else f"[{p} ...]" if n == "*" else p
            for p, n in places
        )
        parser.usage = f"{parser.prog} {' '.join(shown)} [flags]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    text = (Path(__file__).parent / "examples.txt").read_text(encoding="utf-8")
    _, _, lines = f"\n{text}".partition(f"\n{name}\n")
    own = "\n".join(takewhile(lambda line: line.startswith("  "), lines.splitlines()))
    parser.description = f"{parser.description}\n\nexamples:\n{own}" if own else parser.description
    group_flags(parser, GROUPS)


def group_flags(parser: argparse.ArgumentParser, groups: Mapping[str, str], rest_title: str = "options") -> None:
    """Put the flags under headings, by how their names begin; those of no heading come last, as `rest_title`."""
    plain = next((group for group in parser._action_groups if group.title == "options"), None)
    if plain is None:
        return
    headed: dict[str, list[argparse.Action]] = {title: [] for title in (*groups, rest_title)}
    for action in plain._group_actions:
        title = next((t for t, starts in groups.items() if action.dest.startswith(tuple(starts.split()))), rest_title)
        headed[title].append(action)
    plain.title, plain._group_actions = rest_title, headed.pop(rest_title)
    first = [parser.add_argument_group(title) for title, actions in headed.items() if actions]
    for group, actions in zip(first, filter(None, headed.values()), strict=True):
        group._group_actions += actions
    others = [g for g in parser._action_groups if g not in (parser._positionals, plain, *first)]
    parser._action_groups = [parser._positionals, *first, *others, plain]


def part_of(module: ModuleType, role: str, name: str) -> Callable[[Any], Any]:
    """Return a command's `configure` or `run`: of a file of several commands `configure_NAME` or `run_NAME`.

    Args:
        name: of the command, its area before it.
    """
    own = f"{role}_{name.split()[-1].replace('-', '_')}"
    found: Callable[[Any], Any] = getattr(module, own, None) or getattr(module, role)
    return found


def run_area(area: str, commands: Commands, args: argparse.Namespace) -> int:
    """Run one command of an area such as `data`. Returns its exit code."""
    name = args.command
    if name not in commands:
        raise UsageError(f"unknown {area} command {name!r}; {nearest_or_known(name, commands)}")
    module, summary = commands[name]
    return run_command(f"{area} {name}", f"rewardsmith.cli.{module}", summary, args.arguments)


def declare_commands(parser: argparse.ArgumentParser, area: str, description: str, commands: Commands) -> None:
    """Declare the command of an area such as `data`; its own flags are declared by its own file."""
    width = max(map(len, commands))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in commands.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{description}\n\n{rows}"
    parser.usage = f"rewardsmith {area} COMMAND [options]   (rewardsmith {area} COMMAND --help)"
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
