"""`rewardsmith rl COMMAND ...`: the table of commands that use a reward; each lives in its own file."""

from __future__ import annotations

import argparse

from rewardsmith.cli.main import declare_commands, run_area

# Command -> one-line summary; `best-of-n` lives in rewardsmith.cli.rl_best_of_n.
COMMANDS = {
    "grpo": "group-relative policy optimisation, by TRL's trainer",
    "rloo": "REINFORCE with a leave-one-out baseline, by TRL's trainer",
    "ppo": "proximal policy optimisation with a value model",
    "raft": "rounds of best of n and supervised training on the best",
    "best-of-n": "sample n answers from a policy, keep the best by a reward; KL, gain and gold with intervals",
}
# Commands that live in one file.
SHARED = dict.fromkeys(("grpo", "rloo", "ppo", "raft"), "optimise")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    declare_commands(parser, "rl", "Optimise a policy against a reward.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one command. Returns its exit code."""
    return run_area("rl", COMMANDS, args, SHARED)
