"""`rewardsmith data COMMAND ...`: the table of data commands; each lives in its own file and loads when it is run."""

from __future__ import annotations

import argparse
from importlib import import_module

from rewardsmith.cli.main import CommandParser, parse_strictly
from rewardsmith.errors import UsageError, nearest

# Command -> one-line summary; `split` lives in rewardsmith.cli.data_split, and so on.
COMMANDS = {
    "inspect": "size, ties, lengths, duplicates, contradictions, agreement; on the terminal and as one page",
    "check": "errors and warnings with their rows; exit code 1 when training on the data would be wrong",
    "convert": "write the data in the layout of TRL, NeMo, OpenRLHF, LLaMA-Factory, ms-swift, Axolotl, or without loss",
    "split": "train and test sets that share no prompt, not even nearly",
    "merge": "one mixture of several sources, with weights or caps",
    "overlap": "what a test set shares with training data: the same prompt, nearly the same, a run of 13 words",
    "simulate": "preferences from a known gold reward, by annotators of known faults",
    "list": "the data sets that can be read by name, with licence and source",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"Read, check and shape preference data.\n\n{rows}"
    parser.usage = "rewardsmith data COMMAND [options]   (rewardsmith data COMMAND --help)"
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run one data command. Returns its exit code."""
    name = args.command
    if name not in COMMANDS:
        near = nearest(name, list(COMMANDS))
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(COMMANDS)}"
        raise UsageError(f"unknown data command {name!r}; {hint}")
    command = import_module(f"rewardsmith.cli.data_{name}")
    parser = CommandParser(prog=f"rewardsmith data {name}", description=COMMANDS[name])
    command.configure(parser)
    return int(command.run(parse_strictly(parser, args.arguments)) or 0)
