"""`rewardsmith data inspect|check|overlap|list`: the commands that look at data and write none of it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rewardsmith.blocks.text import print_sections
from rewardsmith.blocks.words import clean, times
from rewardsmith.cli.options import add_source_options, source_options
from rewardsmith.data.checks.checking import WORDS, Check, check_preferences
from rewardsmith.data.checks.inspected import Inspected
from rewardsmith.data.checks.overlap import KINDS, MEANING, Overlap, Source, find_overlap, write_without
from rewardsmith.data.columns import parse_columns
from rewardsmith.data.formats import FORMATS
from rewardsmith.data.loading import LoadReport
from rewardsmith.data.sets import CATALOGUE
from rewardsmith.data.sets.entry import Entry
from rewardsmith.data.texts import join_rows
from rewardsmith.doctor.examining import inspect_sources, sequence_encoder
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import open_rows, write_bytes, write_json
from rewardsmith.findings import Finding


def configure_inspect(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--tokenizer", help="count lengths in tokens of this tokenizer or model (default: words)")
    parser.add_argument("--html", type=Path, help="also write one HTML page that needs nothing else")
    parser.add_argument("--png", type=Path, help="also write the histograms of lengths as a picture")
    parser.add_argument("--json", help="also write everything as JSON; - for stdout instead of the tables")
    add_source_options(parser)


def run_inspect(args: argparse.Namespace) -> int:
    """Read once, print, and write what was asked for. Bad rows are counted, never a reason to stop."""
    options = {name: value for name, value in source_options(args).items() if name != "on_error"}
    if args.tokenizer:
        options["encode"], notes = sequence_encoder(args.tokenizer)
        for note in notes:
            print(f"tokenizer: {note}", file=sys.stderr)
    found = inspect_sources(args.source, quote=bool(args.html), watch=lambda items: track(items, "inspect"), **options)
    for note in dict.fromkeys(found.report.notes):
        print(f"note: {note}", file=sys.stderr)
    if args.json:
        _write_inspected(found, args.json)
    if args.png:
        stream = io.BytesIO()
        found.plot_lengths().savefig(stream, format="png")
        _write(args.png, stream.getvalue())
    if args.html:
        _write(args.html, found.to_html())
    # Last, as a closed pipe (`| head`) ends the command here.
    if args.json != "-":
        print_sections(found.sections(), Console(highlight=False))
    return 0


def _write_inspected(found: Inspected, path: str) -> None:
    text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    if path == "-":
        print(text)
    else:
        _write(Path(path), (text + "\n").encode("utf-8", "replace"))


def _write(path: Path, content: bytes) -> None:
    write_bytes(path, content)
    print(f"wrote {path}", file=sys.stderr)


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--test", nargs="+", default=[], help="test data: none of its prompts may stand in the source")
    parser.add_argument("--rows", type=int, default=10, help="rows named for each finding (default: %(default)s)")
    parser.add_argument("--json", help="also write the findings as JSON, with up to 1000 rows; - for stdout instead")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings too")
    add_source_options(parser)


def run_check(args: argparse.Namespace) -> int:
    """Read once, print or write what was found. Returns 1 when it makes training wrong."""
    if args.rows < 0:
        raise ConfigError(f"--rows must be 0 or more, not {args.rows}")
    checked = check_preferences(
        args.source, args.test, watch=lambda items: track(items, "check"), **source_options(args)
    )
    code = int(checked.num_errors > 0 or (args.strict and bool(checked.findings)))
    plain = {"sources": args.source, "test": args.test, "exit_code": code, **checked.to_dict()}
    if args.json == "-":
        print(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
        return code
    if args.json:
        write_json(Path(args.json), plain)
        print(f"wrote {args.json}", file=sys.stderr)
    _print_check(checked, args.rows)
    return code


def _print_check(checked: Check, num_rows: int) -> None:
    """Print every finding and a last line with the verdict."""
    console = Console(highlight=False)
    report = checked.report
    reader = f", read as {report.reader}" if report.reader else ""
    console.print(Text(f"{times(report.rows, 'row')}, {times(checked.inspection.comparisons, 'comparison')}{reader}"))
    for note in dict.fromkeys(report.notes):
        console.print(Text(clean(f"note: {note}")))
    for finding in checked.findings:
        style = "bold red" if finding.level == "red" else "yellow"
        is_counted = (finding.total or 0) > 1
        count = f"{finding.count:,} of {finding.total:,} {finding.unit} ({finding.share:.1%})" if is_counted else ""
        line = Text.assemble("\n", (f"{WORDS[finding.level]:<9}", style), (finding.check, "bold"), f"  {count}")
        console.print(line)
        for text in (finding.message, f"-> {finding.remedy}", _name_rows(finding, num_rows)):
            if text:
                console.print(Padding(Text(clean(text), overflow="fold"), (0, 0, 0, 9)))
    console.print(Text(f"\n{checked.verdict}", style="bold red" if checked.num_errors else "bold"))


def _name_rows(finding: Finding, limit: int) -> str:
    """Name the first rows, file by file: "pairs.jsonl:row 3, 17, 22 and 9 more"."""
    shown = finding.rows[:limit]
    if not shown:
        return ""
    more = ((finding.count or 0) if finding.unit == "rows" else len(finding.rows)) - len(shown)
    return join_rows(shown) + (f" and {more:,} more" if more > 0 else "")


def configure_list(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
    form.add_argument("--markdown", action="store_true", help="print the table of docs/data-sets.md")


def run_list(args: argparse.Namespace) -> int:
    """Print name, content, licence, paper and place of every entry."""
    if args.json:
        print(json.dumps([describe_entry(entry) for entry in CATALOGUE.values()], indent=2))
        return 0
    if args.markdown:
        print(markdown_table())
        return 0
    table = Table(title="rewardsmith data inspect PATH_OR_HUB_ID --reader NAME")
    table.add_column("name", no_wrap=True)
    table.add_column("what, licence, paper, hub id or homepage", overflow="fold")
    for entry in CATALOGUE.values():
        variants = (
            [f"variants: {', '.join(f'{entry.name}:{name}' for name in entry.variants)}"] if entry.variants else []
        )
        terms = f"licence: {entry.licence}; labels: {entry.labels}"
        about = [entry.summary, *variants, terms, entry.paper_url, entry.hub_place or entry.url]
        table.add_row(entry.name, escape("\n".join(about)), end_section=True)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"--reader also takes the name of a row format: {', '.join(FORMATS)}", soft_wrap=True)
    return 0


def markdown_table() -> str:
    """Return the table of all entries that docs/data-sets.md holds; a test keeps the two equal."""
    lines = ["| `--reader` | what | labels | licence | paper, data |", "|---|---|---|---|---|"]
    for entry in CATALOGUE.values():
        names = [f"`{entry.name}`", *(f"`{entry.name}:{name}`" for name in entry.variants)]
        where = f"hub: `{entry.hub_place}`" if entry.hub_id else "published"
        links = f"[paper]({entry.paper_url}), [{where}]({entry.url})"
        cells = ("<br>".join(names), entry.summary, entry.labels, entry.licence, links)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return what is known of an entry, for JSON."""
    return {
        "name": entry.name,
        "variants": list(entry.variants),
        "summary": entry.summary,
        "labels": entry.labels,
        "licence": entry.licence,
        "paper": entry.paper_url,
        "hub_id": entry.hub_id,
        "subset": entry.subset,
        "url": entry.url,
        "columns": sorted(entry.columns),
    }


def configure_overlap(parser: argparse.ArgumentParser) -> None:
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


def run_overlap(args: argparse.Namespace) -> int:
    """Read both sides once (the training side again for --clean), print and write. Bad rows are counted."""
    if args.fail_above is not None and not 0 <= args.fail_above <= 1:
        raise ConfigError(f"--fail-above is a share in [0, 1], not {args.fail_above:g}")
    if args.clean and args.train_column:
        raise ConfigError("--clean writes preferences; it cannot be used with --train-column")
    reports = {"train": LoadReport(), "test": LoadReport()}
    train = track(_side(args, "train").read(reports["train"]), "train")
    test = track(_side(args, "test").read(reports["test"]), "test")
    found = find_overlap(train, test, args.ngram, args.near, args.index)
    for side, count in (("train", found.num_train), ("test", found.num_test)):
        if not count:
            first = next(iter(reports[side].examples.values()), "it holds no rows")
            raise DataError(f"{getattr(args, side)}: nothing to compare: {first}")
    if args.json:
        _write_counts(args, found, reports)
    if args.json != "-":
        _print_overlap(args, found, reports)
    if args.out:
        with open_rows(args.out) as write:
            for hit in found.hits:
                write({"kind": hit.kind, "test": hit.test, "train": hit.train, "shared": hit.excerpt})
    if args.clean:
        kept = write_without(_side(args, "train"), found.train_numbers, args.clean, lambda items: track(items, "write"))
        if args.json != "-":
            print(f"\nwrote {kept:,} of {found.num_train:,} training groups to {args.clean}")
    return int(args.fail_above is not None and found.share() > args.fail_above)


def _side(args: argparse.Namespace, side: str) -> Source:
    """Return one side as its flags name it."""
    reader, split, column, named = (getattr(args, f"{side}_{n}") for n in ("reader", "split", "column", "columns"))
    return Source(getattr(args, side), reader, split, column, parse_columns(named))


def _print_overlap(args: argparse.Namespace, found: Overlap, reports: dict[str, LoadReport]) -> None:
    """Print the counts by kind and the first hits."""
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
