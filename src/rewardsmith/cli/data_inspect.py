"""`rewardsmith data inspect SOURCE...`: what the data are, on a terminal and as one page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rewardsmith.cli.data_inspect_sections import Section, bins, example_rows, make_sections
from rewardsmith.cli.data_options import add_source_options, source_options, visible
from rewardsmith.data.checks.inspection import Inspection, inspect_groups
from rewardsmith.data.checks.lengths import Measure, TokenMeasure
from rewardsmith.data.loading import LoadReport
from rewardsmith.data.texts import locate_each
from rewardsmith.errors import DataError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import replace_when_done
from rewardsmith.records import PreferenceGroup

BAR = 40


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--tokenizer", help="count lengths in tokens of this tokenizer or model (default: words)")
    parser.add_argument("--html", type=Path, help="also write one HTML page that needs nothing else")
    parser.add_argument("--png", type=Path, help="also write the histograms of lengths as a picture")
    parser.add_argument("--json", help="also write everything as JSON; - for stdout instead of the tables")
    add_source_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read once, print, and write what was asked for. Bad rows are counted, never a reason to stop."""
    measure = _token_measure(args.tokenizer) if args.tokenizer else None
    report = LoadReport()
    found = _inspect(args.source, report, measure, source_options(args))
    for note in dict.fromkeys(report.notes):
        print(f"note: {note}", file=sys.stderr)
    sections = make_sections(found, report)
    if args.json:
        _write_json(found, report, args.json)
    if args.json != "-":
        _print(sections)
    if args.png:
        from rewardsmith.cli.data_inspect_plot import draw_lengths

        _write(args.png, draw_lengths(found))
    if args.html:
        from rewardsmith.cli.data_inspect_page import make_page

        examples = _fetch(args.source, example_rows(found), source_options(args))
        _write(args.html, make_page(", ".join(args.source), sections, examples).encode("utf-8", "replace"))
    return 0


def _inspect(sources: list[str], report: LoadReport, measure: Measure | None, options: dict[str, Any]) -> Inspection:
    """Look through the sources. Raises DataError when no row could be read."""
    found = inspect_groups(track(locate_each(sources, report, **options), "inspect"), measure)
    if not found.tally.rows:
        reasons = "; ".join(report.examples.values()) or "it holds no rows"
        raise DataError(f"{', '.join(sources)}: nothing to inspect: {reasons}")
    return found


def _token_measure(name: str) -> Measure:
    """Give the measure in tokens of the sequences that training and scoring see."""
    from transformers import AutoTokenizer

    from rewardsmith.models.rendering import Renderer, prepare_tokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    for note in prepare_tokenizer(tokenizer):
        print(f"tokenizer: {note}", file=sys.stderr)
    renderer = Renderer(tokenizer)
    # The warning that a sequence is longer than the model takes is what the histogram is for.
    tokenizer.model_max_length = sys.maxsize

    def encode(group: PreferenceGroup) -> list[list[int]]:
        return [
            renderer.encode(group.prompt, completion, group.tools, group.chat_template_kwargs)
            for completion in group.completions
        ]

    return TokenMeasure(encode)


def _fetch(sources: list[str], wanted: set[str], options: dict[str, Any]) -> dict[str, PreferenceGroup]:
    """Read again until the rows that the page quotes are found; only their texts are held."""
    found: dict[str, PreferenceGroup] = {}
    if not wanted:
        return found
    for where, group in locate_each(sources, LoadReport(), **options):
        if where in wanted:
            found[where] = group
            if len(found) == len(wanted):
                break
    return found


def _print(sections: list[Section]) -> None:
    """Print the sections as tables."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    styles: dict[str, str] = {"": "", "warn": "yellow", "bad": "red", "good": "green"}
    for section in sections:
        console.print(Text(f"\n{section.title}", style="bold"))
        lines = Table.grid(padding=(0, 2))
        lines.add_column(min_width=22)
        lines.add_column(justify="right")
        lines.add_column(style="dim", ratio=1, overflow="fold")
        for line in section.lines:
            lines.add_row(
                Text(visible(line.label)), Text(visible(line.value), style=styles[line.level]), Text(visible(line.note))
            )
        console.print(Padding(lines, (0, 0, 0, 2)))
        for grid in section.grids:
            table = Table(box=None, padding=(0, 2), header_style="dim")
            for place, column in enumerate(grid.columns):
                table.add_column(Text(column), justify="right" if place else "left", overflow="fold")
            for row in grid.rows:
                table.add_row(*(Text(visible(cell)) for cell in row))
            console.print(table)
        for chart in section.charts:
            console.print(Padding(Text(chart.title), (1, 0, 0, 2)))
            for label, count in bins(chart.distribution):
                bar = "█" * max(1, round(BAR * count / max(chart.distribution.counts))) if count else ""
                console.print(Text(f"  {label:>14}  {bar} {count:,}"))


def _write_json(found: Inspection, report: LoadReport, path: str) -> None:
    """Write everything that is known, with the rows that were left out."""
    left_out = {reason: {"count": n, "first": report.examples[reason]} for reason, n in report.dropped.items()}
    plain = {"rows_read": report.rows, "rows_left_out": left_out, **found.to_dict()}
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    if path == "-":
        print(text)
    else:
        _write(Path(path), (text + "\n").encode("utf-8", "replace"))


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears when it is whole."""
    with replace_when_done(path) as part:
        part.write_bytes(content)
    print(f"wrote {path}", file=sys.stderr)
