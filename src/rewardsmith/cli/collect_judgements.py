"""`rewardsmith collect agreement|export|order`: what was judged, as numbers and files, and what comes next."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.cli.options import SCORER_HELP, add_model_options, open_scorer
from rewardsmith.collecting import Collection, export_groups
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.ordering import apply_order, open_items, rated_predictions
from rewardsmith.collecting.quality import Quality, measure_quality
from rewardsmith.collecting.store import log_event
from rewardsmith.data.formats import TARGETS
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.errors import ConfigError
from rewardsmith.files.writing import open_rows
from rewardsmith.records import Estimate, PreferenceGroup, ScoreRequest, as_text
from rewardsmith.stats.ordering import Order, Prediction, order_values


def configure_agreement(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_project_option(parser)
    parser.add_argument("--question", help="which question, where there are several")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run_agreement(args: argparse.Namespace) -> int:
    """Measure and print."""
    collection = opened(args)
    names = [question.name for question in collection.project.all_questions]
    if args.question is not None and args.question not in names:
        raise ConfigError(f"there is no question {args.question!r}; there are: {', '.join(names)}")
    quality = measure_quality(collection.project, load_items(collection.store, judged_only=True), args.question)
    if args.json:
        print(json.dumps(quality.to_dict()))
        return 0
    print_quality(quality)
    return 0


def print_quality(quality: Quality) -> None:
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
        console.print(f"  {label:<32} {_in_words(value)}")
    # The pseudonym is what other commands ask for: it is never cut.
    name = Column("annotator", no_wrap=True, min_width=max((len(r.alias) for r in quality.raters), default=9))
    table = Table(name, "judged", "with others", "gold", "with self", "first wins", "seconds", "ability")
    for r in quality.raters:
        seconds = "-" if math.isnan(r.seconds) else f"{r.seconds:.0f}"
        cells = [_in_words(value) for value in (r.others, r.gold, r.consistency, r.first)]
        table.add_row(r.alias, str(r.judgements), *cells, seconds, _in_words(r.ability))
    console.print(table)
    for one in quality.divided[:10]:
        console.print(f"divides people: item {one.item_id}, {one.votes} votes, {one.agreement:.0%} of pairs agree")


def _in_words(value: Estimate) -> str:
    if math.isnan(value.value):
        return "not yet" if not value.n else f"undefined: all alike (n={value.n})"
    return str(value)


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", nargs="?", type=Path, help="file (.jsonl, .jsonl.gz, .json, .parquet)")
    parser.add_argument("--out", "-o", dest="out_flag", type=Path, help=argparse.SUPPRESS)
    add_project_option(parser)
    parser.add_argument("--to", choices=list(TARGETS), help="layout (default: ours, without loss; by the suffix)")
    parser.add_argument("--question", help="whose comparisons are exported, where several compare")
    parser.add_argument("--soft", action="store_true", help="one edge a pair with the share of votes, not one a vote")
    parser.add_argument("--gold", action="store_true", help="gold items, too")


def run_export(args: argparse.Namespace) -> int:
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


def configure_order(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("order", choices=get_args(Order))
    add_project_option(parser)
    parser.add_argument("--model", help=f"{SCORER_HELP}; fisher reads the features of its last layer")
    parser.add_argument("--rating", help="take the rewards from this rating of the imported rows instead")
    add_model_options(parser)


def run_order(args: argparse.Namespace) -> int:
    """Order the items that have open seats."""
    collection = opened(args)
    items = open_items(collection.store)
    if args.order != "random" and (args.model is None) == (args.rating is None):
        raise ConfigError(f"{args.order} needs predictions: give either --model or --rating")
    if args.order == "random":
        predictions = [Prediction(np.zeros(len(item.completions))) for item in items]
    elif args.rating is not None:
        predictions = rated_predictions(items, args.rating)
    else:
        from rewardsmith.scoring.features import predict

        asked = [(as_text(item.prompt) if item.prompt else "", tuple(map(as_text, item.completions))) for item in items]
        scorer = open_scorer(args.model, args, args.ensemble)
        predictions = predict(scorer, [ScoreRequest(prompt, texts) for prompt, texts in asked], args.order)
    values = order_values(args.order, predictions)
    apply_order(collection.store, args.order, dict(zip((item.item_id for item in items), values, strict=True)))
    print(f"{len(items)} items in order {args.order}")
    return 0
