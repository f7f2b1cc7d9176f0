"""`rewardsmith verify FOLDER`: is a saved model still what it was: contract, files, golden rewards?"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", help="a model that train or export wrote")
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that the model brings")


def run(args: argparse.Namespace) -> int:
    """Print one line a check. Returns 1 when one fails."""
    from transformers.utils import logging

    from rewardsmith.models.verify import verify_folder

    logging.disable_progress_bar()
    failed = 0
    for found in verify_folder(args.folder, args.trust_remote_code):
        failed += not found.passed
        print(f"{'ok  ' if found.passed else 'FAIL'}  {found.check}: {found.message}")
    return int(failed > 0)
