"""`rewardsmith score|rank`: rewards for the rows of a file, and the best answers of each prompt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.cli.options import add_columns, add_limit, add_model_options, model_spec
from rewardsmith.errors import ConfigError
from rewardsmith.files.progress import ProgressBar

if TYPE_CHECKING:
    from rewardsmith.scoring.bulk.job import BulkReport
    from rewardsmith.scoring.bulk.ledger import Shard


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="a reward model: folder or hub id")
    parser.add_argument("input", help="JSON Lines (.gz, .zst), JSON, CSV, Parquet, Arrow, a folder, or a hub data set")
    parser.add_argument("out", type=Path, help="output: .jsonl (.gz, .zst), .json, .csv or .parquet")
    parser.add_argument("--shard", metavar="I/N", help="score part of the rows (I from 0); then run once without it")
    parser.add_argument("--overwrite", action="store_true", help="throw away an output or ledger that is there")
    parser.add_argument("--parts", action="store_true", help="also write members, attributes and steps of each reward")
    parser.add_argument(
        "--probabilities", action="store_true", help="rows of two answers: P(preferred) of each, P(tie)"
    )
    add_scoring_options(parser)


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add what score and rank share: how the input is read and how the model runs."""
    parser.add_argument("--split", help="split of a folder or hub data set that holds several")
    parser.add_argument("--column", default="reward", help="name of the reward's column (default reward)")
    parser.add_argument("--rows-per-part", type=int, default=512, help="rows between two resume points (default 512)")
    add_limit(parser)
    add_columns(parser, "question=prompt answer=completion; the output has our names")
    add_model_options(parser)
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or a Ray cluster")
    parser.add_argument("--workers", type=int, help="ray: workers with the model (default: as many as fit)")
    parser.add_argument("--cpus-per-worker", type=float, help="ray: CPUs of a worker (default 1)")
    parser.add_argument("--gpus-per-worker", type=float, help="ray: GPUs of a worker (default 1 where there are any)")
    parser.add_argument("--ray-address", help="ray: a running cluster, or auto (default: $RAY_ADDRESS or this machine)")


def run(args: argparse.Namespace) -> int:
    """Score and say what was written. Exit code 1 when no row could be scored."""
    from rewardsmith.scoring.bulk.ledger import Shard

    shard = Shard.parse(args.shard) if args.shard else Shard()
    beside = {"with_parts": args.parts, "probabilities": args.probabilities}
    report = score(args, args.input, args.out, shard, beside)
    for line in report.lines(Path(f"{args.out}.errors.jsonl")):
        print(line, file=sys.stderr)
    if shard.count > 1:
        after = f"{report.waiting} parts left to others" if report.waiting else "all parts are done"
        print(f"shard {args.shard} is done; {after}; then run once without --shard to write {args.out}")
        return 0
    print(f"wrote {report.scored} of {report.rows} rows to {args.out} ({report.reused} were done before)")
    return 1 if report.rows and not report.scored else 0


def score(
    args: argparse.Namespace, source: str | Path, out: Path, shard: Shard | None = None, beside: dict | None = None
) -> BulkReport:
    """Load the model, score `source` into `out` and give the report; `beside` are a job's fields beside rewards."""
    from rewardsmith.data.columns import parse_columns
    from rewardsmith.scoring.bulk.job import BulkJob, advance, score_file
    from rewardsmith.scoring.bulk.ledger import Shard
    from rewardsmith.scoring.bulk.rows import find_source, spec_fingerprints

    cluster = _cluster(args)
    job = BulkJob(
        find_source(str(source), args.split),
        out,
        args.split,
        args.column,
        args.rows_per_part,
        shard or Shard(),
        args.overwrite,
        limit=args.limit,
        columns=parse_columns(args.columns),
        **(beside or {}),
    )
    spec = model_spec(args)
    spec.require_outside(out)
    with ProgressBar("scoring") as bar:
        if cluster is not None:
            from rewardsmith.scoring.bulk.ray_engine import score_file_on_ray

            return score_file_on_ray(spec, job, cluster, advance(bar, job.shard))
        model = spec.open()
        bar.restart_clock()
        return score_file(model, job, spec_fingerprints(spec, model), advance(bar, job.shard))


def _cluster(args: argparse.Namespace) -> Any:
    """Return the cluster of `--engine ray`, None for this process; flags that would be ignored are refused."""
    names = ("workers", "cpus_per_worker", "gpus_per_worker", "ray_address")
    given = {n.removeprefix("ray_"): value for n in names if (value := getattr(args, n)) is not None}
    if args.engine == "local":
        if given:
            raise ConfigError(f"{', '.join(given)}: only --engine ray has such; add it or leave these out")
        return None
    from rewardsmith.scoring.bulk.ray_engine import Cluster

    return Cluster(**given)


def configure_rank(parser: argparse.ArgumentParser) -> None:
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


def run_rank(args: argparse.Namespace) -> int:
    """Choose, write, and print how much was taken and how far it moves from the policy.

    Exit code 1 when no row could be scored.
    """
    from rewardsmith.data.columns import parse_columns
    from rewardsmith.scoring.ranking import Choice, check_place, rank

    choice = Choice(args.take, args.k, args.min_reward, args.min_margin)
    check_place(args.input, args.out, args.overwrite)
    source, split, failed = args.input, args.split, False
    if args.model:
        source, split = args.out.with_name(f"{args.out.name}.scored.jsonl"), None
        scored = score(args, args.input, source)
        failed = bool(scored.rows) and not scored.scored
        for line in scored.lines(Path(f"{source}.errors.jsonl")):
            print(line, file=sys.stderr)
    how = {"column": args.column, "split": split, "limit": args.limit, "overwrite": args.overwrite}
    # What was scored here has our names already.
    columns = None if args.model else parse_columns(args.columns)
    report = rank(source, args.out, choice, **how, columns=columns)
    print(f"wrote {report.rows} rows to {args.out}: {report.prompts} prompts, {report.answers} answers")
    if report.without_reward:
        print(f"{report.without_reward} answers have no reward and were passed by")
    if report.without_rows:
        print(f"{report.without_rows} prompts gave no row (too few answers, equal rewards, or below the limits)")
    if report.prompts:
        print(f"KL of best-of-n from the policy: {report.mean_kl:.4f} nats, mean of log n - (n-1)/n over prompts")
    return int(failed)
