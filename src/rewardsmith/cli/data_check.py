"""`rewardsmith data check SOURCE...`: errors and warnings with their rows; exit code 1 when training would be wrong."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rewardsmith.blocks.words import clean, times
from rewardsmith.cli.options import add_source_options, source_options
from rewardsmith.data.checks.checking import WORDS, Check, check_preferences
from rewardsmith.data.texts import join_rows
from rewardsmith.errors import ConfigError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import write_json
from rewardsmith.findings import Finding


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--test", nargs="+", default=[], help="test data: none of its prompts may stand in the source")
    parser.add_argument("--rows", type=int, default=10, help="rows named for each finding (default: %(default)s)")
    parser.add_argument("--json", help="also write the findings as JSON, with up to 1000 rows; - for stdout instead")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings too")
    add_source_options(parser)


def run(args: argparse.Namespace) -> int:
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
    _print(checked, args.rows)
    return code


def _print(checked: Check, num_rows: int) -> None:
    """Print every finding and a last line with the verdict."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

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
