"""`rewardsmith runs FOLDER`: a table over the run.json files below a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from rewardsmith.errors import DataError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", nargs="?", default=Path("."), type=Path, help="looked through with all folders in it")
    parser.add_argument("--sort", choices=("accuracy", "time", "name"), default="accuracy", help="default: accuracy")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of the table")


def run(args: argparse.Namespace) -> int:
    """Read, sort and print; files that cannot be read are named. Returns 0."""
    from rewardsmith.blocks.text import print_blocks
    from rewardsmith.files.writing import to_json
    from rewardsmith.report.folders import read_runs, runs_table

    if not args.folder.is_dir():
        raise DataError(f"{args.folder} is no folder; name one that holds runs")
    runs, unread = read_runs(args.folder, args.sort)
    if not runs and not unread:
        raise DataError(f"no run.json in {args.folder} or below; `rewardsmith train` writes one")
    if args.json:
        print(to_json([row.to_dict() for row in runs]))
    else:
        print_blocks(runs_table(runs, unread))
    return 0
