"""`rewardsmith compare`: two scorers on the same rows, paired tests and the rows that flipped."""

from __future__ import annotations

import argparse
import sys

from rewardsmith.cli.evaluate import (
    about,
    add_shared,
    hint_at_skipping,
    print_verdict,
    require_order,
    say_wrote,
    show,
)
from rewardsmith.cli.options import SCORER_HELP, add_model_options, input_options, open_scorer
from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.comparing import compare_scorers
from rewardsmith.evaluation.verdict import verdict
from rewardsmith.report import write_report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("a", help=SCORER_HELP)
    parser.add_argument("b", help="the same")
    parser.add_argument("data", help="preference data: file, folder or hub id")
    parser.add_argument("--show", type=int, default=5, help="how many of the largest disagreements to print")
    add_model_options(parser, several=True)
    add_shared(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    require_order(args.a, args.data)
    scorers = [open_scorer(name, args) for name in (args.a, args.b)]
    how = Resampling(args.resamples, args.seed)
    with hint_at_skipping(args.skip_bad):
        result = compare_scorers((scorers[0], scorers[1]), args.data, input_options(args), (args.a, args.b), how)
    for reason, count in result.dropped.items():
        print(f"dropped {count} rows ({reason})", file=sys.stderr)
    show(result, args.json)
    if args.html:
        plain = {**result.to_dict(max(args.show, 10)), "data": args.data, "seed": args.seed}
        say_wrote(write_report([plain], args.html, about=about()))
    if args.json != "-":
        print_verdict(verdict(result))
        print(result.shown_disagreements(args.show))
    return 0
