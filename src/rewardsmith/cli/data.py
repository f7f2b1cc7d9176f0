"""`rewardsmith data COMMAND ...`: the table of data commands; their files load when one is run."""

from __future__ import annotations

import argparse

from rewardsmith.cli.main import declare_commands, run_area

# Command -> (module, one-line summary).
COMMANDS = {
    "inspect": (
        "data_reading",
        "size, ties, lengths, duplicates, contradictions, agreement; on the terminal and as one page",
    ),
    "check": (
        "data_reading",
        "errors and warnings with their rows; exit code 1 when training on the data would be wrong",
    ),
    "convert": (
        "data_writing",
        "write the data as TRL, NeMo, OpenRLHF, LLaMA-Factory, ms-swift or Axolotl read them, or without loss",
    ),
    "split": ("data_writing", "train and test sets that share no prompt, not even nearly"),
    "merge": ("data_writing", "one mixture of several sources, with weights or caps"),
    "overlap": (
        "data_reading",
        "what a test set shares with training data: the same prompt, nearly the same, a run of 13 words",
    ),
    "simulate": ("data_writing", "preferences from a known gold reward, by annotators of known faults"),
    "list": ("data_reading", "the data sets that can be read by name, with licence and source"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    declare_commands(parser, "data", "Read, check and shape preference data.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one data command. Returns its exit code."""
    return run_area("data", COMMANDS, args)
