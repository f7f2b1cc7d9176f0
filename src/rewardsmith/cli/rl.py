"""`rewardsmith rl COMMAND ...`: the table of commands that use a reward; each lives in its own file."""

from __future__ import annotations

import argparse

from rewardsmith.cli.main import declare_commands, run_command
from rewardsmith.errors import UsageError, nearest_or_known

# Command -> one-line summary; `best-of-n` lives in rewardsmith.cli.rl_best_of_n.
COMMANDS = {"best-of-n": "sample n answers from a policy, keep the best by a reward; KL, gain and gold with intervals"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    declare_commands(parser, "rl", "Optimise a policy against a reward.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one command. Returns its exit code."""
    name = args.command
    if name not in COMMANDS:
        raise UsageError(f"unknown rl command {name!r}; {nearest_or_known(name, COMMANDS)}")
    return run_command(f"rl {name}", f"rewardsmith.cli.rl_{name.replace('-', '_')}", COMMANDS[name], args.arguments)
