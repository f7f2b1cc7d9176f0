"""`rewardsmith doctor`: find what would silently ruin a run, before it runs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from rewardsmith.blocks.words import clean
from rewardsmith.cli.options import add_input_options, add_loading_options, add_size_options, input_options
from rewardsmith.errors import ConfigError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import write_text

if TYPE_CHECKING:
    from rewardsmith.doctor.examining import Diagnosis

MARKS = {"green": "ok ", "yellow": " ! ", "red": " X "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", nargs="?", help="reward model, adapter, or language model to be trained")
    parser.add_argument("data", nargs="?", help="preference data: file, folder or hub id")
    parser.add_argument("--data", dest="data_alone", metavar="DATA", help="the same; give it alone to check only data")
    parser.add_argument("--max-length", type=int, help="of the training run (default: the contract's, then 1024)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on yellow findings too")
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON; - for stdout instead of lines")
    parser.add_argument("--html", metavar="FILE", help="also write the findings as a self-contained page")
    add_size_options(add_loading_options(parser))
    add_input_options(parser)


def run(args: argparse.Namespace) -> int:
    """Examine and print. Returns 1 when a finding is red, with --strict also when one is yellow."""
    from rewardsmith.cli.evaluate import about, say_wrote
    from rewardsmith.doctor.examining import doctor
    from rewardsmith.report import write_report

    if args.model:
        from transformers.utils import logging

        # A finding says what other packages would say while loading.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    if args.data and args.data_alone:
        raise ConfigError("DATA was given twice; give it once")
    data = args.data or args.data_alone
    reading = {name: value for name, value in input_options(args).items() if name != "on_error" and value is not None}
    flags = ("max_length", "trust_remote_code", "device", "dtype", "tokens_per_batch", "truncate_prompt", "revision")
    found = doctor(args.model, data, watch=track, **{name: getattr(args, name) for name in flags}, **reading)
    show(found, args.json)
    if args.html:
        say_wrote(write_report([found], args.html, about=about()))
    return int(found.level == "red" or (args.strict and found.level == "yellow"))


def show(found: Diagnosis, json_path: str | None) -> None:
    """Print one line a finding with its remedy, and the counts; or JSON."""
    if json_path:
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
        if json_path == "-":
            print(text)
            return
        write_text(json_path, text + "\n")
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = max(len(finding.check) for finding in found)
    for finding in found:
        mark = Text(f"{MARKS[finding.level]}{finding.level:<6} ", style=f"bold {finding.level}")
        console.print(mark + Text(f"{finding.check:<{width}}  {clean(finding.message)}"), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<{width + 12}}-> {clean(finding.remedy)}", style="dim"), soft_wrap=True)
    console.print(found.verdict, style=f"bold {found.level}")
