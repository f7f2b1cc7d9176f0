"""`rewardsmith collect export FILE`: judgements as preference groups, ready for `rewardsmith train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.collecting import Collection, export_groups
from rewardsmith.collecting.store import log_event
from rewardsmith.data.formats import TARGETS
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.errors import ConfigError
from rewardsmith.files.writing import open_rows
from rewardsmith.records import PreferenceGroup


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", nargs="?", type=Path, help="file (.jsonl, .jsonl.gz, .json, .parquet)")
    parser.add_argument("--out", "-o", dest="out_flag", type=Path, help=argparse.SUPPRESS)
    add_project_option(parser)
    parser.add_argument("--to", choices=list(TARGETS), help="layout (default: ours, without loss; by the suffix)")
    parser.add_argument("--question", help="whose comparisons are exported, where several compare")
    parser.add_argument("--soft", action="store_true", help="one edge a pair with the share of votes, not one a vote")
    parser.add_argument("--gold", action="store_true", help="gold items, too")


def run(args: argparse.Namespace) -> int:
    """Write the file and say what it holds."""
    out = args.out or args.out_flag
    if out is None:
        raise ConfigError("name a file: rewardsmith collect export judgements.jsonl")
    collection = opened(args)
    groups = export_groups(collection.store, collection.project, question=args.question, soft=args.soft, gold=args.gold)
    report = write_export(collection, out, groups, args.to)
    lost = ", ".join(f"{kind}: {count}" for kind, count in (report.lost + report.refused).items() if count)
    print(f"wrote {report.rows} rows of {report.groups} groups to {out}{f'; not in it: {lost}' if lost else ''}")
    if not report.groups:
        print("nobody has judged anything yet", file=sys.stderr)
    elif not any(group.comparisons for group in groups):
        print(
            "no judgement compares two answers: ratings and steps are there, but nothing to train on", file=sys.stderr
        )
    return 0


def write_export(
    collection: Collection, out: Path, groups: Sequence[PreferenceGroup], to: str | None = None
) -> ConvertReport:
    """Write the judgements to a file. Raises ConfigError where suffix and layout do not fit."""
    layout = to or ("parquet" if out.suffix == ".parquet" else "jsonl")
    if (out.suffix == ".parquet") != (layout == "parquet"):
        raise ConfigError(f"{out}: --to parquet writes .parquet, the other layouts write .jsonl or .json")
    report = ConvertReport.empty()
    if TARGETS[layout].is_lossless:
        with open_groups(out) as write_group:
            for group in groups:
                write_group(group)
        report.groups = report.rows = len(groups)
    else:
        with open_rows(out) as write_row:
            for group in groups:
                for row in convert_group(group, TARGETS[layout], report):
                    write_row(row)
    with collection.store.transaction() as connection:
        log_event(connection, "command line", "export", out.name, layout=layout, rows=report.rows)
    return report
