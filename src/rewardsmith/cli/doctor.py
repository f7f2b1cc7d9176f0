"""`rewardsmith doctor`: find what would silently ruin a run, before it runs."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.cli.options import add_input_options, add_loading_options, input_options
from rewardsmith.errors import ConfigError

if TYPE_CHECKING:
    from rewardsmith.doctor import Finding

SCHEMA, SCHEMA_VERSION = "rewardsmith.doctor", 1
MARKS = {"green": "ok ", "yellow": " ! ", "red": " X "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", nargs="?", help="reward model, adapter, or language model to be trained")
    parser.add_argument("data", nargs="?", help="preference data: file, folder or hub id")
    parser.add_argument("--data", dest="data_alone", metavar="DATA", help="the same; give it alone to check only data")
    parser.add_argument("--max-length", type=int, help="of the training run (default: the contract's, then 1024)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on yellow findings too")
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON; - for stdout instead of lines")
    add_loading_options(parser)
    add_input_options(parser)


def run(args: argparse.Namespace) -> int:
    """Examine and print. Returns 1 when a finding is red, with --strict also when one is yellow."""
    from transformers.utils import logging

    from rewardsmith.doctor import Examination, examine, worst

    # A finding says what other packages would say while loading.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if args.data and args.data_alone:
        raise ConfigError("DATA was given twice; give it once")
    data = args.data or args.data_alone
    reading = {name: value for name, value in input_options(args).items() if name != "on_error" and value is not None}
    findings = examine(
        args.model, data, Examination(args.max_length, reading, args.trust_remote_code, args.device, args.dtype)
    )
    level = worst(findings)
    show(findings, {"model": args.model, "data": data, "level": level}, args.json)
    return int(level == "red" or (args.strict and level == "yellow"))


def show(findings: Sequence[Finding], summary: dict[str, Any], json_path: str | None) -> None:
    """Print one line a finding with its remedy, and the counts; or JSON."""
    if json_path:
        content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **summary}
        content["findings"] = [finding.to_dict() for finding in findings]
        text = json.dumps(content, indent=2, ensure_ascii=False)
        if json_path == "-":
            print(text)
            return
        Path(json_path).write_text(text + "\n", encoding="utf-8")
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = Text(f"{MARKS[finding.level]}{finding.level:<6} ", style=f"bold {finding.level}")
        console.print(mark + Text(f"{finding.check:<{width}}  {_printable(finding.message)}"), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<{width + 12}}-> {_printable(finding.remedy)}", style="dim"), soft_wrap=True)
    counts = Counter(finding.level for finding in findings)
    console.print(", ".join(f"{counts[level]} {level}" for level in ("red", "yellow", "green")))


def _printable(text: str) -> str:
    """Keep control characters of a checked file out of the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
