"""`rewardsmith audit`: evaluation, length, probes and invariances of models on data sets, in one report."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rewardsmith.audit import Audit, AuditPlan, audit
from rewardsmith.audit.answers import token_counter
from rewardsmith.audit.invariances import model_variants
from rewardsmith.audit.plan import RESAMPLES
from rewardsmith.audit.sampled_answers import AuditData, Reading, SampledAnswers, load_data, load_samples
from rewardsmith.audit.together import compare_models, judge_together, with_details
from rewardsmith.blocks.text import require_folder
from rewardsmith.cli.evaluate import about, say_wrote, write_json
from rewardsmith.cli.options import add_input_options, add_model_options, input_options, model_options, open_scorer
from rewardsmith.data.training_record import FILE_NAME
from rewardsmith.errors import UsageError
from rewardsmith.evaluation import Resampling
from rewardsmith.records import PreferenceGroup
from rewardsmith.report import print_audits, write_report
from rewardsmith.report.folders import write_audit

SET_SCHEMA = "rewardsmith.audits"
SCHEMA_VERSION = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    models_help = "reward models (path, hub id or URL); without --data the last one is DATA"
    add("models", nargs="+", metavar="MODEL", help=models_help)
    _add_data_options(parser)
    add("--sample", type=int, default=500, help="answers that are edited by the probes, two a prompt (default 500)")
    add("--no-variants", action="store_true", help="do not load the model again in other precisions and paddings")
    add(
        "--prompt-blind",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also score every answer without its prompt, a second pass (default: yes, but for files of scores)",
    )
    add(
        "--trained-on",
        action="append",
        default=[],
        metavar="NAME",
        help="name of the data set that a model was trained on, once for each model in their order: adds the matrix of "
        "training source by test source",
    )
    add_model_options(parser, several=True)
    add("--ensemble-risk", action="store_true", help="the models are one ensemble: adds its selective risk")
    add("--resamples", type=int, default=RESAMPLES, help=f"bootstrap samples (default {RESAMPLES})")
    add("--seed", type=int, default=0, help="seed of bootstrap, sample and edits")
    add("--json", metavar="FILE", help="write the result as JSON; - for stdout instead of the tables")
    add("--html", metavar="FILE", help="write one self-contained report")
    add("--model-card", action="store_true", help="write a summary into each local model's README.md")
    add("--fail-on", choices=("red", "yellow"), help="exit with 1 when a finding is this bad")


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add what is read: the data, the training data, the samples of a policy."""
    add = parser.add_argument
    data_help = "preference data, once for each data set. READER: see rewardsmith data list, or a benchmark's name"
    add("--data", action="append", default=[], metavar="[NAME=]PATH[:READER]", help=data_help)
    add_input_options(parser)
    add("--draw", type=int, help="audit so many groups of each data set, drawn by --seed")
    add(
        "--train-data",
        action="append",
        default=[],
        metavar="PATH[:READER]",
        help="what the model was trained on: contamination, and accuracy by novelty. Without it contamination is "
        f"looked for in the hashes that a model trained here carries ({FILE_NAME})",
    )
    add(
        "--samples",
        metavar="PATH[:READER]",
        help="many answers of each prompt, sampled from one policy: variance of the reward and, with --gold, "
        "over-optimisation. simulator:100x64 samples 64 answers of 100 prompts of the simulator",
    )
    add(
        "--gold",
        metavar="SCORER|rating:NAME|final-number:COLUMN",
        help="what judges the chosen samples: a better scorer, simulator:gold, or a rating of the samples, such as "
        "rating:correct; or final-number:COLUMN, a column that holds the right number",
    )


def run(args: argparse.Namespace) -> int:
    """Audit every model on all data, print, and write the files."""
    models, wanted = _split_targets(args)
    _check(args)
    options = input_options(args)
    reading = Reading(options.pop("reader"), options, args.draw, args.seed)
    data = load_data(wanted, reading)
    training = load_data(args.train_data, Reading(options={"split": args.split, "on_error": "count"})).groups
    samples = (
        load_samples(args.samples, args.gold, reading, lambda name: open_scorer(name, args)) if args.samples else None
    )
    for line in [*data.notes, *(samples[1] if samples else ())]:
        print(line, file=sys.stderr)
    cards = [require_folder(model) for model in models] if args.model_card else []
    audits = [_audit_model(args, model, data, (training, samples[0] if samples else None)) for model in models]
    how = Resampling(args.resamples, args.seed)
    results = [result for found in audits for result in with_details(found, data.names, how)]
    results += judge_together(audits, args.trained_on, how, is_ensemble=args.ensemble_risk)
    _write(args, results + compare_models(audits, how))
    for folder, found in zip(cards, audits, strict=False):
        say_wrote(write_audit(folder, found.to_dict(), data.name))
    failing = {"red": {"red"}, "yellow": {"red", "yellow"}}.get(args.fail_on, set())
    return 1 if {found.worst for found in audits} & failing else 0


def _split_targets(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Tell models from data."""
    if args.data:
        return args.models, args.data
    if len(args.models) < 2:
        raise UsageError("give MODEL and DATA, or MODEL ... with --data for each data set")
    return args.models[:-1], args.models[-1:]


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant, before anything is read."""
    if args.sample < 2 or args.resamples < 1:
        raise UsageError("--sample must be at least 2 (two answers of a prompt) and --resamples at least 1")
    if args.draw is not None and args.draw < 1:
        raise UsageError("--draw must be at least 1")
    if args.gold is not None and args.samples is None:
        raise UsageError("--gold needs --samples: answers that were sampled from a policy")


def _audit_model(
    args: argparse.Namespace, model: str, data: AuditData, more: tuple[list[PreferenceGroup], SampledAnswers | None]
) -> Audit:
    """Open one model and audit it."""
    print(f"auditing {model} on {data.name}: {len(data.groups)} groups", file=sys.stderr)
    scorer = open_scorer(model, args)
    plan = AuditPlan(
        how=Resampling(args.resamples, args.seed),
        sample=args.sample,
        variants={} if args.no_variants else model_variants(scorer, model, model_options(args)),
        count_tokens=token_counter(scorer),
        training=more[0],
        folder=model,
        samples=more[1],
        prompt_blind=args.prompt_blind,
    )
    return audit(scorer, data.groups, plan, name=data.name, dropped=data.dropped, merge_prompts=False)


def _write(args: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Print tables and findings, or JSON to stdout, and write the files."""
    several = {"schema": SET_SCHEMA, "schema_version": SCHEMA_VERSION, "results": results}
    write_json(results[0] if len(results) == 1 else several, args.json)
    if args.html:
        say_wrote(write_report(results, args.html, about=about()))
    if args.json != "-":
        print_audits(results)
