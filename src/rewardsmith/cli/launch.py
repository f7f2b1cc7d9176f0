"""`rewardsmith launch`: a command in several processes on this machine."""

from __future__ import annotations

import argparse

from rewardsmith.errors import UsageError
from rewardsmith.training.launching import default_processes, launch

EXAMPLES = """examples:
  rewardsmith launch --nproc 2 train lora --model_name_or_path MODEL --dataset_name pairs.jsonl
  rewardsmith launch --dry_run train --config my.yaml     print the command, one process a GPU
  rewardsmith train --nproc 2 --config my.yaml            the same, shorter"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLES
    parser.add_argument("--nproc", type=int, help="processes on this machine; by default one a GPU")
    parser.add_argument("--dry_run", action="store_true", help="print the command and leave")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="train and its flags")


def run(args: argparse.Namespace) -> int:
    """Print the command and run it. Returns 0."""
    if args.arguments[:1] != ["train"]:
        raise UsageError("launch runs `train` in several processes: rewardsmith launch --nproc 2 train ...")
    return launch(default_processes() if args.nproc is None else args.nproc, args.arguments, args.dry_run)
