"""`rewardsmith data overlap TRAIN TEST`: what a test set shares with training data, row by row."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rewardsmith.blocks.words import clean
from rewardsmith.data.checks.overlap import KINDS, MEANING, Overlap, Source, find_overlap, write_without
from rewardsmith.data.columns import parse_columns
from rewardsmith.data.loading import LoadReport
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import open_rows, write_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("train", help="training data: a file, a folder or a hub id")
    parser.add_argument("test", help="test data: the same")
    parser.add_argument("--ngram", type=int, default=13, help="words in a run (default: %(default)s)")
    parser.add_argument("--near", type=float, default=0.8, help="similarity of near-duplicate prompts; 0: do not look")
    parser.add_argument("--index", choices=["train", "test"], default="test", help="the side held in memory")
    parser.add_argument("--rows", type=int, default=20, help="print so many hits (default: %(default)s)")
    parser.add_argument("--out", "-o", type=Path, help="write every hit as a row (.jsonl, .json)")
    parser.add_argument("--clean", type=Path, help="write the training data without the rows that are hit")
    parser.add_argument("--json", help="write the counts as JSON; - for stdout instead of the table")
    parser.add_argument("--fail-above", type=float, metavar="SHARE", help="exit with 1 if more test rows are hit")
    for side in ("train", "test"):
        parser.add_argument(f"--{side}-reader", help=f"data set or row format of the {side} side")
        parser.add_argument(f"--{side}-split", help=f"split of the {side} side")
        columns_help = f"columns of the {side} side, such as question=prompt"
        parser.add_argument(f"--{side}-columns", nargs="+", metavar="YOURS=OURS", help=columns_help)
        parser.add_argument(f"--{side}-column", help=f"the {side} side has no answers: its texts stand in this column")


def run(args: argparse.Namespace) -> int:
    """Read both sides once (the training side again for --clean), print and write. Bad rows are counted."""
    if args.fail_above is not None and not 0 <= args.fail_above <= 1:
        raise ConfigError(f"--fail-above is a share in [0, 1], not {args.fail_above:g}")
    if args.clean and args.train_column:
        raise ConfigError("--clean writes preferences; it cannot be used with --train-column")
    reports = {"train": LoadReport(), "test": LoadReport()}
    train = track(_source(args, "train").read(reports["train"]), "train")
    test = track(_source(args, "test").read(reports["test"]), "test")
    found = find_overlap(train, test, args.ngram, args.near, args.index)
    for side, count in (("train", found.num_train), ("test", found.num_test)):
        if not count:
            first = next(iter(reports[side].examples.values()), "it holds no rows")
            raise DataError(f"{getattr(args, side)}: nothing to compare: {first}")
    if args.json:
        _write_counts(args, found, reports)
    if args.json != "-":
        _print(args, found, reports)
    if args.out:
        with open_rows(args.out) as write:
            for hit in found.hits:
                write({"kind": hit.kind, "test": hit.test, "train": hit.train, "shared": hit.excerpt})
    if args.clean:
        kept = write_without(
            _source(args, "train"), found.train_numbers, args.clean, lambda items: track(items, "write")
        )
        if args.json != "-":
            print(f"\nwrote {kept:,} of {found.num_train:,} training groups to {args.clean}")
    return int(args.fail_above is not None and found.share() > args.fail_above)


def _source(args: argparse.Namespace, side: str) -> Source:
    """Return one side as its flags name it."""
    reader, split, column, named = (getattr(args, f"{side}_{n}") for n in ("reader", "split", "column", "columns"))
    return Source(getattr(args, side), reader, split, column, parse_columns(named))


def _print(args: argparse.Namespace, found: Overlap, reports: dict[str, LoadReport]) -> None:
    """Print the counts by kind and the first hits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for side, num in (("train", found.num_train), ("test", found.num_test)):
        console.print(Text(f"{side:<5}  {num:,} groups  {getattr(args, side)}"))
        for line in reports[side].lines():
            console.print(Text(clean(f"       {line}")))
    if found.num_short:
        console.print(
            Text(f"       {found.num_short:,} test prompts have fewer than {found.ngram} words: no run in them")
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place, name in enumerate(("shared", "test groups", "share", "train groups", "")):
        table.add_column(name, justify="right" if 0 < place < 4 else "left", no_wrap=0 < place < 4)
    for kind in KINDS:
        if kind == "near prompt" and not found.near:
            continue
        cells = (f"{len(found.test_groups(kind)):,}", f"{found.share(kind):.2%}", f"{found.train_hits[kind]:,}")
        table.add_row(kind, *cells, Text(MEANING[kind].format(near=found.near, ngram=found.ngram), style="dim"))
    table.add_row("any", f"{len(found.test_groups()):,}", f"{found.share():.2%}", f"{len(found.train_numbers):,}", "")
    console.print()
    console.print(table)
    for hit in found.hits[: args.rows]:
        console.print(Text(clean(f"\n{hit.kind}: {hit.test} and {hit.train}"), style="bold"))
        console.print(Text(clean(f"  {hit.excerpt}")))
    if len(found.hits) > args.rows:
        console.print(Text(f"\n{len(found.hits) - args.rows:,} more hits; --out FILE writes them all", style="dim"))


def _write_counts(args: argparse.Namespace, found: Overlap, reports: dict[str, LoadReport]) -> None:
    """Write the counts, and how the data were read, as JSON."""
    read = {
        side: {"source": getattr(args, side), "rows": report.rows, "left_out": dict(report.dropped)}
        for side, report in reports.items()
    }
    plain: dict[str, Any] = {**read, **found.to_dict(), "hits": len(found.hits)}
    if args.json == "-":
        print(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        write_json(Path(args.json), plain)
