"""`rewardsmith rl COMMAND ...`: the table of commands that use a reward; each lives in its own file."""

from __future__ import annotations

import argparse

from rewardsmith.cli.main import declare_commands, run_area

# Command -> (module, one-line summary).
COMMANDS = {
    "grpo": ("rl_optimise", "group-relative policy optimisation, by TRL's trainer"),
    "rloo": ("rl_optimise", "REINFORCE with a leave-one-out baseline, by TRL's trainer"),
    "ppo": ("rl_optimise", "proximal policy optimisation with a value model"),
    "raft": ("rl_optimise", "rounds of best of n and supervised training on the best"),
    "round": ("rl_round", "rounds of answers, judgements, reward model and policy, restartable at any point"),
    "best-of-n": ("rl_best_of_n", "sample n answers, keep the best by a reward; KL, gain and gold with intervals"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    summaries = {name: summary for name, (_, summary) in COMMANDS.items()}
    declare_commands(parser, "rl", "Optimise a policy against a reward.", summaries)


def run(args: argparse.Namespace) -> int:
    """Run one command. Returns its exit code."""
    return run_area("rl", COMMANDS, args)
