"""`rewardsmith rl COMMAND ...`: the table of commands that use a reward; each lives in its own file."""

from __future__ import annotations

import argparse

from rewardsmith.cli.main import declare_commands, run_area

# Command -> one-line summary; `best-of-n` lives in rewardsmith.cli.rl_best_of_n.
COMMANDS = {"best-of-n": "sample n answers from a policy, keep the best by a reward; KL, gain and gold with intervals"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    declare_commands(parser, "rl", "Optimise a policy against a reward.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one command. Returns its exit code."""
    return run_area("rl", COMMANDS, args)
