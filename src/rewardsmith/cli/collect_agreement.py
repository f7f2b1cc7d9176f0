"""`rewardsmith collect agreement`: how far people agree, with intervals, and each annotator."""

from __future__ import annotations

import argparse
import json
import math

from rich.console import Console
from rich.table import Table

from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.quality import Quality, measure_quality
from rewardsmith.errors import ConfigError
from rewardsmith.records import Estimate


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_project_option(parser)
    parser.add_argument("--question", help="which question, where there are several")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    collection = opened(args)
    names = [question.name for question in collection.project.all_questions]
    if args.question is not None and args.question not in names:
        raise ConfigError(f"there is no question {args.question!r}; there are: {', '.join(names)}")
    quality = measure_quality(collection.project, load_items(collection.store), args.question)
    if args.json:
        print(json.dumps(quality.to_dict()))
        return 0
    _print(quality)
    return 0


def _print(quality: Quality) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{quality.judgements} judgements of {quality.items} items, question {quality.question!r}")
    rows = {
        f"Krippendorff's alpha ({quality.level})": quality.alpha,
        "two people say the same": quality.agreement,
        "a person says the same again": quality.consistency,
        "right on gold": quality.gold,
        "the answer shown first wins": quality.first,
    }
    for label, value in rows.items():
        console.print(f"  {label:<32} {_text(value)}")
    table = Table("annotator", "judged", "with others", "gold", "with self", "first wins", "seconds", "ability")
    for r in quality.raters:
        seconds = "-" if math.isnan(r.seconds) else f"{r.seconds:.0f}"
        cells = [_text(value) for value in (r.others, r.gold, r.consistency, r.first)]
        table.add_row(r.alias, str(r.judgements), *cells, seconds, _text(r.ability))
    console.print(table)
    for one in quality.divided[:10]:
        console.print(f"divides people: item {one.item_id}, {one.votes} votes, {one.agreement:.0%} of pairs agree")


def _text(value: Estimate) -> str:
    if math.isnan(value.value):
        return "not yet" if not value.n else f"undefined: all alike (n={value.n})"
    return str(value)
