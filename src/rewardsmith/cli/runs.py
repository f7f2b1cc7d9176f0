"""`rewardsmith runs|plan|launch`: what runs there are, what one will take, and one in several processes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rewardsmith.cli.main import parse_strictly
from rewardsmith.errors import DataError, UsageError


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


def configure_plan(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    from rewardsmith.training.config import OVERFLOWS
    from rewardsmith.training.engines import BYTES, NAMES

    parser.add_argument("model", metavar="MODEL", help="a folder, a hub id, or a size such as 0.5B, 7B, 70B")
    parser.add_argument("data", metavar="DATA", help="a file, a folder or a hub id")
    parser.add_argument("--revision", metavar="NAME", help="of a MODEL of the hub, as owner/name@NAME has it")
    parser.add_argument("--gpus", type=int, default=1, help="devices (default: 1)")
    parser.add_argument("--memory", type=float, default=80.0, help="GB of each (default: 80)")
    parser.add_argument("--tokens-per-batch", type=int, default=8192, help="distinct tokens of a batch (default: 8192)")
    parser.add_argument("--accumulation", type=int, default=1, help="batches of a device in a step (default: 1)")
    parser.add_argument("--epochs", type=float, default=1.0, help="how often the data are seen (default: 1)")
    parser.add_argument("--max-length", type=int, default=1024, help="longest sequence in tokens (default: 1024)")
    parser.add_argument("--overflow", default="drop", choices=OVERFLOWS, help="what becomes of longer ones")
    parser.add_argument("--test-split-size", type=float, help="share of prompts held out, as of train")
    parser.add_argument("--comparisons", type=int, help="plan for so many, with the lengths of DATA")
    parser.add_argument("--lora-r", type=int, default=16, help="rank of an adapter (default: 16)")
    parser.add_argument("--dtype", default="float32", choices=list(BYTES), help="of the weights (default: float32)")
    parser.add_argument("--engine", choices=NAMES, help="plan for this one (default: the first that fits)")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--tokens-per-second", type=float, help="distinct tokens a second and device, measured by you")
    rate.add_argument("--rate-from", metavar="FOLDER", help="take the rate out of the run.json of an earlier run")
    rate.add_argument("--measure", action="store_true", help="measure the rate here, by a few steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the lines")


def run_plan(args: argparse.Namespace) -> int:
    """Print the plan. Returns 0, or 1 when nothing fits."""
    from rewardsmith.files.tables import at_revision
    from rewardsmith.files.writing import to_json
    from rewardsmith.training.engines import GB, Resources
    from rewardsmith.training.planning import measure_rate, plan, read_rate

    model = at_revision(args.model, args.revision)
    resources = Resources(
        gpus=args.gpus,
        memory=args.memory * GB,
        tokens_per_batch=args.tokens_per_batch,
        accumulation=args.accumulation,
        epochs=args.epochs,
        rate=args.tokens_per_second,
        rate_source="given by --tokens-per-second",
        dtype=args.dtype,
        engine=args.engine,
        max_length=args.max_length,
        overflow=args.overflow,
        held_out=args.test_split_size,
    )
    resources.require_possible()
    if args.measure or args.rate_from is not None:
        found = measure_rate(model, args.tokens_per_batch) if args.measure else read_rate(args.rate_from, model)
        resources = replace(resources, rate=found[0], rate_source=found[1])
    planned = plan(model, args.data, resources, comparisons=args.comparisons, rank=args.lora_r)
    print(to_json(planned.to_dict()) if args.json else "\n".join(planned.lines()))
    return 0 if planned.command else 1


def configure_launch(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--nproc", type=int, help="processes on this machine; by default one a GPU")
    parser.add_argument("--dry_run", action="store_true", help="print the command and leave")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="train and its flags")


def run_launch(args: argparse.Namespace) -> int:
    """Print the command and run it; its own flags may stand behind `train`, too. Returns 0."""
    from rewardsmith.cli.train import make_parser
    from rewardsmith.training.launching import launch

    if args.arguments[:1] != ["train"]:
        raise UsageError("launch runs `train` in several processes: rewardsmith launch --nproc 2 train ...")
    words = [word for word in args.arguments if word != "--dry_run"]
    # A flag that is not known is said once, before any process is started.
    behind = parse_strictly(make_parser("rewardsmith train", ""), words[1:]).nproc
    return launch(behind if args.nproc is None else args.nproc, words, args.dry_run or words != args.arguments)
