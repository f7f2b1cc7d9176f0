"""`rewardsmith data convert INPUT --to LAYOUT --out FILE`: write preferences as another tool reads them."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rewardsmith.cli.options import add_input_options, input_options
from rewardsmith.data.formats import TARGETS, llamafactory
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import LoadReport, iter_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import ConfigError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import check_free, open_rows, write_json
from rewardsmith.records import PreferenceGroup


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--to", required=True, choices=list(TARGETS), help="layout; jsonl and parquet lose nothing")
    parser.add_argument(
        "--out", "-o", required=True, type=Path, help="output file (.jsonl, .jsonl.gz, .json, .parquet)"
    )
    parser.add_argument(
        "--merge-prompts", action="store_true", help="first merge rows of one prompt into one group (needs the memory)"
    )
    add_input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at --out")


def run(args: argparse.Namespace) -> int:
    """Convert group by group and print what was written, lost, left unread, refused and dropped."""
    if (args.out.suffix == ".parquet") != (args.to == "parquet"):
        raise ConfigError(f"{args.out}: --to parquet writes .parquet, the other layouts write .jsonl or .json")
    check_free(args.out, args.overwrite)
    read, report = LoadReport(), ConvertReport.empty()
    source = args.input[0] if len(args.input) == 1 else args.input
    groups: Iterable[PreferenceGroup] = iter_preferences(source, report=read, **input_options(args))
    if args.merge_prompts:
        groups = merge_groups(track(groups, "read"))
    with _open(args.out, args.to, report) as write:
        for group in track(groups, "convert"):
            write(group)
    if args.to == "llamafactory":
        _register(args.out)
    for line in _summary(args.out, args.to, report):
        print(line)
    print("\n".join([f"read {read.rows} rows", *read.lines()]))
    return 0


@contextlib.contextmanager
def _open(path: Path, layout: str, report: ConvertReport) -> Iterator[Callable[[PreferenceGroup], None]]:
    """Give a function that writes one group in a layout."""
    if TARGETS[layout].is_lossless:
        with open_groups(path) as write_group:

            def write_whole(group: PreferenceGroup) -> None:
                write_group(group)
                report.groups += 1
                report.rows += 1

            yield write_whole
        return
    with open_rows(path) as write_row:

        def write_rows(group: PreferenceGroup) -> None:
            for row in convert_group(group, TARGETS[layout], report):
                write_row(row)

        yield write_rows


def _register(path: Path) -> None:
    """Enter the file into dataset_info.json beside it, as LLaMA-Factory needs; other entries stay."""
    info_path = path.parent / "dataset_info.json"
    known: dict[str, Any] = json.loads(info_path.read_text(encoding="utf-8")) if info_path.exists() else {}
    name = path.name.split(".")[0]
    write_json(info_path, {**known, name: {"file_name": path.name, **llamafactory.INFO}})
    print(f"registered {name!r} in {info_path}")


def _summary(path: Path, layout: str, report: ConvertReport) -> list[str]:
    """Say what was written and, kind by kind, what was not."""
    lines = [f"wrote {report.rows} rows of {report.groups} groups to {path} ({layout})"]
    lines += [f"lost: {kind}: {count}" for kind, count in report.lost.items() if count]
    lines += [f"kept in a column that {layout} does not read: {kind}: {count}" for kind, count in report.unread.items()]
    lines += [f"not written: {count} groups ({reason})" for reason, count in report.refused.items()]
    return lines if len(lines) > 1 else [*lines, "lost: nothing"]
