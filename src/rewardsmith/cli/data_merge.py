"""`rewardsmith data merge A B ... --out FILE`: one mixture of several sources, one graph a prompt."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rewardsmith.cli.options import add_input_options, input_options
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import LoadReport, iter_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.data.mixing import Portion, choose_groups, group_rank, plan_counts, rank_threshold
from rewardsmith.errors import ConfigError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import check_free
from rewardsmith.records import PreferenceGroup


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", nargs="+", help="files, folders or hub ids, one a source")
    parser.add_argument(
        "--out", "-o", required=True, type=Path, help="output file (.jsonl, .jsonl.gz, .json, .parquet)"
    )
    parser.add_argument("--weight", nargs="+", type=float, help="one weight a source, in the order of the inputs")
    parser.add_argument("--cap", nargs="+", type=int, help="one cap for all, or one a source; 0 means none")
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other groups")
    parser.add_argument(
        "--keep-apart", action="store_true", help="do not merge groups of one prompt: streams, needs no memory"
    )
    add_input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at --out")


def run(args: argparse.Namespace) -> int:
    """Count, choose and write; two passes over the inputs."""
    portions = _portions(args)
    check_free(args.out, args.overwrite)
    reports = [LoadReport() for _ in args.input]
    ranks = []
    for source, report in zip(args.input, reports, strict=True):
        groups = track(iter_preferences(source, report=report, **input_options(args)), f"count {source}")
        ranks.append([group_rank(group, args.seed) for group in groups])
    counts = plan_counts([len(values) for values in ranks], portions)
    limits = [rank_threshold(values, count) for values, count in zip(ranks, counts, strict=True)]
    chosen = _chosen(args, counts, limits)
    groups = chosen if args.keep_apart else iter(merge_groups(chosen))
    num_groups = 0
    with open_groups(args.out) as write:
        for group in track(groups, "write"):
            write(group)
            num_groups += 1
    for source, report, count in zip(args.input, reports, counts, strict=True):
        print("\n".join([f"{source}: {count} of {report.groups} groups", *report.lines()]))
    print(f"wrote {num_groups} groups to {args.out} ({sum(counts) - num_groups} merged into groups of the same prompt)")
    return 0


def _portions(args: argparse.Namespace) -> list[Portion]:
    """Pair inputs with their weights and caps. Raises ConfigError when the numbers do not match."""
    size = len(args.input)
    weights = args.weight or [None] * size
    caps = args.cap or [0]
    caps = caps * size if len(caps) == 1 else caps
    for name, values in (("--weight", weights), ("--cap", caps)):
        if len(values) != size:
            raise ConfigError(f"{name} has {len(values)} numbers for {size} inputs; give one for each")
    return [Portion(weight, cap or None) for weight, cap in zip(weights, caps, strict=True)]


def _chosen(args: argparse.Namespace, counts: list[int], limits: list[float]) -> Iterator[PreferenceGroup]:
    """Read the inputs again and yield the chosen groups, source after source."""
    for source, count, limit in zip(args.input, counts, limits, strict=True):
        yield from choose_groups(iter_preferences(source, **input_options(args)), count, limit, args.seed)
