"""`rewardsmith data split INPUT --out FOLDER`: sides that share no prompt, not even nearly."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from rewardsmith.cli.options import add_input_options, input_options
from rewardsmith.data.splitting import HELD_BACK, SplitPlan, split
from rewardsmith.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--out", "-o", required=True, type=Path, help="output folder: one file a side and split.json")
    parser.add_argument("--by", default="prompt", choices=["prompt", "source", "annotator", "time"])
    parser.add_argument("--shares", default="train=0.9,test=0.1", help="sides and shares (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=0.8, help="Jaccard similarity of near-duplicate prompts")
    parser.add_argument("--cutoff", help="with --by time: first time (ISO 8601) of the second side")
    parser.add_argument("--suffix", default=".jsonl", choices=[".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
    add_input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at --out")


def run(args: argparse.Namespace) -> int:
    """Split group by group; the files appear when all is done."""
    plan = SplitPlan(args.by, parse_shares(args.shares), args.seed, args.threshold, args.cutoff)
    source = args.input[0] if len(args.input) == 1 else args.input
    report = split(source, args.out, plan, suffix=args.suffix, overwrite=args.overwrite, **input_options(args))
    print(f"read {report.read.rows} rows, {report.read.groups} groups")
    for side in plan.shares:
        print(f"{side}: {report.groups[side]} groups, {report.comparisons[side]} comparisons")
    for reason, count in report.held_back.items():
        print(f"held back: {count} comparisons ({reason})")
    print("\n".join([*report.read.lines(), f"wrote {args.out}"]))
    return 0


def parse_shares(text: str) -> dict[str, float]:
    """Read "train=0.9,test=0.1". Raises ConfigError with the accepted form."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError as error:
            raise ConfigError(f"shares are given as train=0.9,test=0.1; {part!r} is not of that form") from error
        if not name.isidentifier() or name == HELD_BACK or not math.isfinite(shares[name]):
            raise ConfigError(f"{part!r} is no side of a split; give a plain name and a finite share")
    return shares
