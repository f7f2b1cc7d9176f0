"""`rewardsmith rank IN OUT`: the best answers of each prompt, or best against worst as pairs for DPO."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rewardsmith.cli.score import add_scoring_options, score


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", help="what `rewardsmith score` wrote; with --model anything that `score` reads")
    parser.add_argument("out", type=Path, help="output: .jsonl (.gz, .zst), .json, .csv or .parquet")
    parser.add_argument("--model", help="score the answers first, into OUT.scored.jsonl (resumable)")
    parser.add_argument("--take", default="best", help="best (default), top: the k best, pairs: k best against k worst")
    parser.add_argument("--k", type=int, default=1, help="answers or pairs of a prompt (default 1)")
    parser.add_argument("--min-reward", type=float, default=float("-inf"), help="take no answer below it")
    parser.add_argument("--min-margin", type=float, default=0.0, help="pairs differ by more than this (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="throw away an output or ledger that is there")
    add_scoring_options(parser)


def run(args: argparse.Namespace) -> int:
    """Choose, write, and print how much was taken and how far it moves from the policy."""
    from rewardsmith.data.columns import parse_columns
    from rewardsmith.scoring.ranking import Choice, check_place, rank

    choice = Choice(args.take, args.k, args.min_reward, args.min_margin)
    check_place(args.input, args.out, args.overwrite)
    source, split = args.input, args.split
    if args.model:
        source, split = args.out.with_name(f"{args.out.name}.scored.jsonl"), None
        scored = score(args, args.input, source)
        for reason, count in scored.failed.items():
            print(f"not scored: {count} rows ({reason}); see {source}.errors.jsonl", file=sys.stderr)
        if scored.cut:
            print(f"prompt cut at its start to fit the model: {scored.cut} rows", file=sys.stderr)
    how = {"column": args.column, "split": split, "limit": args.limit, "overwrite": args.overwrite}
    # What was scored here has our names already.
    columns = None if args.model else parse_columns(args.columns)
    report = rank(source, args.out, choice, **how, columns=columns)
    print(f"wrote {report.rows} rows to {args.out}: {report.prompts} prompts, {report.answers} answers")
    if report.without_rows:
        print(f"{report.without_rows} prompts gave no row (too few answers, equal rewards, or below the limits)")
    if report.prompts:
        print(f"KL of best-of-n from the policy: {report.mean_kl:.4f} nats, mean of log n - (n-1)/n over prompts")
    return 0
