"""`rewardsmith evaluate|compare`: metrics beside baselines, a benchmark by its rule, two models on the same rows."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rewardsmith.blocks.text import require_folder
from rewardsmith.cli.options import SCORER_HELP, add_input_options, add_model_options, input_options, open_scorer
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.evaluation import Resampling, as_scorer, evaluate
from rewardsmith.evaluation.comparing import compare_scorers
from rewardsmith.evaluation.evaluating import summarise
from rewardsmith.evaluation.judged import comparison_rows
from rewardsmith.evaluation.scorers import scores_blind
from rewardsmith.evaluation.verdict import verdict
from rewardsmith.files.tables import check_output, write_rows
from rewardsmith.findings import Finding
from rewardsmith.report import details, write_report
from rewardsmith.report.folders import save_temperature, write_benchmark, write_evaluation

if TYPE_CHECKING:
    from rewardsmith.evaluation import Evaluation, ModelComparison
    from rewardsmith.evaluation.benchmarks import BenchmarkResult


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", nargs="?", help=SCORER_HELP)
    parser.add_argument("data", nargs="?", help="preference data: file, folder or hub id")
    parser.add_argument("--scores", help="evaluate a file of scores instead of a model; then give only DATA")
    parser.add_argument("--benchmark", help="a benchmark's rule, such as reward-bench; DATA is its published file")
    parser.add_argument("--reward-bench-files", metavar="FOLDER", help="also write RewardBench's own result files")
    parser.add_argument("--plain-text", action="store_true", help="score a benchmark's texts without a chat template")
    parser.add_argument(
        "--prompt-blind",
        action=argparse.BooleanOptionalAction,
        help="also score every answer without its prompt, a second pass (default: yes, but for files of scores)",
    )
    parser.add_argument(
        "--save-temperature", action="store_true", help="write the fitted temperature into MODEL's scoring contract"
    )
    parser.add_argument("--model-card", action="store_true", help="write a summary into MODEL's README.md")
    parser.add_argument(
        "--rows", metavar="FILE", help="write each comparison with its rewards: .jsonl, .csv or .parquet"
    )
    add_model_options(parser)
    add_shared(parser)


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add what evaluate and compare share: resampling, output and how data is read."""
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap samples (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout instead of the table")
    parser.add_argument("--html", metavar="FILE", help="write a self-contained HTML report")
    add_input_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    # With --scores the first place holds the data.
    model, data = (args.model, args.data) if not args.scores else (None, args.data or args.model)
    if data is None or (model is None and not args.scores):
        raise ConfigError("give MODEL and DATA, or --scores FILE and DATA")
    if args.scores and args.data:
        raise ConfigError("with --scores give only DATA, no model")
    require_order(model, data)
    if args.rows:
        check_output(Path(args.rows))
    folder = require_folder(model) if args.model_card or args.save_temperature else Path()
    scorer = as_scorer(args.scores) if model is None else open_scorer(model, args, args.ensemble)
    how = Resampling(args.resamples, args.seed)
    blind = scores_blind(scorer, args.prompt_blind)
    with hint_at_skipping(args.skip_bad):
        if args.benchmark:
            _run_benchmark(args, scorer, data, how, blind)
            return 0
        result = evaluate(scorer, data, how=how, prompt_blind=blind, **input_options(args))
    for note in [*result.notes, *(f"dropped {count} rows ({reason})" for reason, count in result.dropped.items())]:
        print(note, file=sys.stderr)
    show(result, args.json)
    if args.json != "-":
        print_verdict(verdict(result))
    if args.rows:
        write_rows(Path(args.rows), lambda: comparison_rows(result.scored))
        say_wrote(args.rows)
    plain = {**result.to_dict(), "data": str(data), "seed": args.seed}
    if args.html:
        say_wrote(write_report([plain | details(result.scored, how)], args.html, about=about()))
    if args.model_card:
        say_wrote(write_evaluation(folder, plain, data))
    if args.save_temperature:
        say_wrote(save_temperature(folder, result.calibration))
    return 0


@contextmanager
def hint_at_skipping(skips: bool) -> Iterator[None]:
    """Name the flag that leaves out what cannot be scored, where it was not given."""
    try:
        yield
    except ScoringError as error:
        remedy = "" if skips else "; --skip-bad leaves out and counts what cannot be scored"
        raise ScoringError(f"{error}{remedy}") from error


def _run_benchmark(args: argparse.Namespace, scorer: object, data: str, how: Resampling, blind: bool) -> None:
    """Run a benchmark, print it and write its files."""
    from rewardsmith.evaluation.benchmarks import BenchmarkRun, run_benchmark, write_reward_bench_files

    if args.save_temperature:
        raise ConfigError("--save-temperature fits on preference data; leave --benchmark out")
    if args.rows:
        raise ConfigError("--rows writes judgements of preference data; leave --benchmark out")
    plan = BenchmarkRun(how, args.split, False if args.plain_text else None, blind, args.skip_bad, args.limit)
    result = run_benchmark(args.benchmark, scorer, data, run=plan)
    if args.limit is not None:
        print(f"the first {args.limit} rows only: the score is not comparable with published ones", file=sys.stderr)
    for reason, count in result.left_out.items():
        print(f"left out {count} rows ({reason}): the score is not comparable with published ones", file=sys.stderr)
    show(result, args.json)
    if args.html:
        evaluation = summarise(result.scorer, result.scored, how).to_dict()
        plain = {**evaluation, **details(result.scored, how), **result.to_dict(), "seed": args.seed}
        say_wrote(write_report([plain], args.html, about=about()))
    if args.reward_bench_files:
        for path in write_reward_bench_files(result, args.reward_bench_files):
            say_wrote(path)
    if args.model_card:
        say_wrote(write_benchmark(require_folder(args.model), result.to_dict()))


def require_order(model: str | None, data: str) -> None:
    """Refuse a model in the place of the data. Raises ConfigError."""
    if model is not None and is_model_folder(data) and not is_model_folder(model) and Path(model).exists():
        raise ConfigError(f"{data} is a model and {model} is not: give the model first, MODEL DATA")


def is_model_folder(name: str) -> bool:
    """Whether a path is the folder of a model or an adapter."""
    return any((Path(name) / file).is_file() for file in ("config.json", "adapter_config.json"))


def show(result: Evaluation | ModelComparison | BenchmarkResult, json_path: str | None) -> None:
    """Print the table of a result, and write its JSON where asked."""
    from rich.console import Console

    write_json(result.to_dict(), json_path)
    if json_path != "-":
        Console().print(result.table())


def about() -> list[str]:
    """Return the date, the command and the versions that a report was made with."""
    from rewardsmith.training.record import versions

    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return [now, shlex.join(["rewardsmith", *sys.argv[1:]]), ", ".join(f"{k} {v}" for k, v in versions().items())]


def print_verdict(found: Finding) -> None:
    """Print the conclusion in one line, and the next thing to do."""
    print(f"verdict: {found.message}")
    if found.remedy:
        print(f"next: {found.remedy}")


def write_json(plain: object, path: str | None) -> None:
    """Write values as JSON to a file, or to stdout for "-"; nothing for None."""
    if path is None:
        return
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    if path == "-":
        print(text)
    else:
        # A lone surrogate in a text cannot be written as UTF-8.
        Path(path).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def say_wrote(path: object) -> None:
    """Say on stderr what was written."""
    print(f"wrote {path}", file=sys.stderr)


def configure_compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("a", help=SCORER_HELP)
    parser.add_argument("b", help="the same")
    parser.add_argument("data", help="preference data: file, folder or hub id")
    parser.add_argument("--show", type=int, default=5, help="how many of the largest disagreements to print")
    add_model_options(parser, several=True)
    add_shared(parser)


def run_compare(args: argparse.Namespace) -> int:
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
