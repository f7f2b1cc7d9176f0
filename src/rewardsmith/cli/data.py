"""`rewardsmith data COMMAND ...`: the table of data commands; each lives in its own file and loads when it is run."""

from __future__ import annotations

import argparse

from rewardsmith.cli.main import declare_commands, run_area

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
    declare_commands(parser, "data", "Read, check and shape preference data.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one data command. Returns its exit code."""
    return run_area("data", COMMANDS, args)
