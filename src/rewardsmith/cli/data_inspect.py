"""`rewardsmith data inspect SOURCE...`: what the data are, on a terminal and as one page."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

from rewardsmith.blocks.text import print_sections
from rewardsmith.cli.options import add_source_options, source_options
from rewardsmith.data.checks.inspected import Inspected
from rewardsmith.doctor.examining import inspect_sources, sequence_encoder
from rewardsmith.files.progress import track
from rewardsmith.files.writing import write_bytes


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
    options = {name: value for name, value in source_options(args).items() if name != "on_error"}
    if args.tokenizer:
        options["encode"], notes = sequence_encoder(args.tokenizer)
        for note in notes:
            print(f"tokenizer: {note}", file=sys.stderr)
    found = inspect_sources(args.source, quote=bool(args.html), watch=lambda items: track(items, "inspect"), **options)
    for note in dict.fromkeys(found.report.notes):
        print(f"note: {note}", file=sys.stderr)
    if args.json:
        _write_json(found, args.json)
    if args.png:
        stream = io.BytesIO()
        found.plot_lengths().savefig(stream, format="png")
        _write(args.png, stream.getvalue())
    if args.html:
        _write(args.html, found.to_html())
    # Last, as a closed pipe (`| head`) ends the command here.
    if args.json != "-":
        from rich.console import Console

        print_sections(found.sections(), Console(highlight=False))
    return 0


def _write_json(found: Inspected, path: str) -> None:
    text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    if path == "-":
        print(text)
    else:
        _write(Path(path), (text + "\n").encode("utf-8", "replace"))


def _write(path: Path, content: bytes) -> None:
    write_bytes(path, content)
    print(f"wrote {path}", file=sys.stderr)
