"""`rewardsmith audit`: evaluation, length, probes and invariances of models on data sets, in one report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardsmith.audit import Audit, AuditPlan, audit
from rewardsmith.audit.risk import audit_risk
from rewardsmith.cli.audit_data import AuditData, load_data
from rewardsmith.cli.audit_models import SCHEMA as TOGETHER
from rewardsmith.cli.audit_models import compare_models, judge_together
from rewardsmith.cli.audit_samples import Samples, add_sample_options, load_samples
from rewardsmith.cli.audit_tables import part_tables
from rewardsmith.cli.audit_training import Part, TrainingData, add_training_options, load_training_data
from rewardsmith.cli.audit_variants import model_variants
from rewardsmith.cli.model_card import require_folder, write_audit
from rewardsmith.cli.options import add_limit, add_model_options, model_options, open_scorer
from rewardsmith.cli.parsing import UsageError
from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.evaluating import summarise
from rewardsmith.records import preferences

SET_SCHEMA = "rewardsmith.audits"
SCHEMA_VERSION = 1
COLOURS = {"red": "bold red", "yellow": "yellow", "green": "green"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="reward models (path, hub id or URL); without --data the last one is DATA",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[NAME=]PATH[:READER]",
        help="preference data, once for each data set. READER: see rewardsmith data list, or a benchmark's name",
    )
    parser.add_argument("--reader", help="reader of the data that names none")
    parser.add_argument("--split", help="split of a folder or hub data set")
    add_limit(parser, "groups of each data set")
    parser.add_argument("--draw", type=int, help="audit so many groups of each data set, drawn by --seed")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad rows out and count them; default: stop at the first"
    )
    parser.add_argument(
        "--sample", type=int, default=500, help="answers that are edited by the probes, two a prompt (default 500)"
    )
    parser.add_argument(
        "--no-variants", action="store_true", help="do not load the model again in other precisions and paddings"
    )
    add_training_options(parser)
    add_sample_options(parser)
    parser.add_argument(
        "--trained-on",
        action="append",
        default=[],
        metavar="NAME",
        help="name of the data set that a model was trained on, once for each model in their order: adds the matrix of "
        "training source by test source",
    )
    add_model_options(parser, several=True)
    parser.add_argument(
        "--ensemble-risk", action="store_true", help="the models are one ensemble: adds its selective risk"
    )
    parser.add_argument("--resamples", type=int, default=2_000, help="bootstrap samples (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of bootstrap, sample and edits")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout instead of the tables")
    parser.add_argument("--html", metavar="FILE", help="write one self-contained report")
    parser.add_argument("--model-card", action="store_true", help="write a summary into each local model's README.md")
    parser.add_argument("--fail-on", choices=("red", "yellow"), help="exit with 1 when a finding is this bad")


def run(args: argparse.Namespace) -> int:
    """Audit every model on all data, print, and write the files."""
    models, wanted = _split_targets(args)
    if args.sample < 2 or args.resamples < 1:
        raise UsageError("--sample must be at least 2 (two answers of a prompt) and --resamples at least 1")
    options = {"split": args.split, "limit": args.limit, "on_error": "count" if args.skip_bad else "raise"}
    if args.draw is not None and args.draw < 1:
        raise UsageError("--draw must be at least 1")
    data = load_data(wanted, args.reader, options, (args.draw, args.seed))
    training, samples = load_training_data(args), load_samples(args)
    for line in data.notes:
        print(line, file=sys.stderr)
    cards = [require_folder(model) for model in models] if args.model_card else []
    audits = [_audit_model(args, model, data, training, samples) for model in models]
    how = Resampling(args.resamples, args.seed)
    results = [result for found in audits for result in _results(found, data, how)]
    results += judge_together(audits, args.trained_on, how, is_ensemble=args.ensemble_risk)
    _write(args, audits, results + compare_models(audits, how))
    for folder, found in zip(cards, audits, strict=False):
        print(f"wrote {write_audit(folder, found, data.name)}", file=sys.stderr)
    worst = {found.worst for found in audits}
    failing = {"red": {"red"}, "yellow": {"red", "yellow"}}.get(args.fail_on, set())
    return 1 if worst & failing else 0


def _split_targets(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Tell models from data."""
    if args.data:
        return args.models, args.data
    if len(args.models) < 2:
        raise UsageError("give MODEL and DATA, or MODEL ... with --data for each data set")
    return args.models[:-1], args.models[-1:]


def _audit_model(
    args: argparse.Namespace, model: str, data: AuditData, training: TrainingData, samples: Samples | None
) -> Audit:
    """Open one model and audit it."""
    print(f"auditing {model} on {data.name}: {len(data.groups)} groups", file=sys.stderr)
    scorer = open_scorer(model, args)
    plan = AuditPlan(
        how=Resampling(args.resamples, args.seed),
        sample=args.sample,
        variants={} if args.no_variants else model_variants(scorer, model, model_options(args)),
        count_tokens=getattr(scorer, "tokenizer", None) and _token_counter(scorer),
    )
    prefers = any(True for group in data.groups for _ in preferences(group))
    risk: dict[str, Part] = {"risk": lambda scored: audit_risk({model: scored}, plan.how)} if prefers else {}
    extra = {**risk, **training.parts(model, plan.how), **(samples.parts(scorer, plan.how) if samples else {})}
    return audit(scorer, data.groups, plan, extra=extra, name=data.name, dropped=data.dropped, merge_prompts=False)


def _token_counter(scorer: Any) -> Any:
    """Give the function that counts the tokens of an answer with the model's own tokenizer."""
    from rewardsmith.audit.answers import answer_text
    from rewardsmith.records import TokenIds

    def count(completion: Any) -> float:
        if isinstance(completion, TokenIds):
            return float(len(completion))
        return float(len(scorer.tokenizer(answer_text(completion), add_special_tokens=False)["input_ids"]))

    return count


def _results(found: Audit, data: AuditData, how: Resampling) -> list[dict[str, Any]]:
    """Give the audit over all data and, where there are several data sets, the evaluation on each."""
    from rewardsmith.report import details

    results = [found.to_dict() | details(found.evaluation.scored, how)]
    if len(data.names) > 1:
        for name in data.names:
            scored = [item for item in found.evaluation.scored if item.group.source == name]
            if scored:
                evaluation = summarise(found.evaluation.scorer, scored, how)
                results.append(evaluation.to_dict() | {"data": name} | details(scored, how))
    return results


def _write(args: argparse.Namespace, audits: Sequence[Audit], results: Sequence[dict[str, Any]]) -> None:
    """Print tables and findings, or JSON to stdout, and write the files."""
    whole = (
        results[0]
        if len(results) == 1
        else {"schema": SET_SCHEMA, "schema_version": SCHEMA_VERSION, "results": list(results)}
    )
    if args.json:
        text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
        if args.json == "-":
            print(text)
        else:
            Path(args.json).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    if args.html:
        from rewardsmith.report import write_report

        print(f"wrote {write_report(results, args.html)}", file=sys.stderr)
    if args.json != "-":
        for found in audits:
            _show(found)
        _show_together(results)


def _show(found: Audit) -> None:
    """Print the table of an audit and, last and so in view, what it found."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(found.table())
    for table in part_tables(found.extra):
        console.print(table)
    for finding in found.findings:
        console.print(Text(f"{finding.level:<7}", style=COLOURS[finding.level]) + Text(finding.text), soft_wrap=True)
    console.print()


def _show_together(results: Sequence[dict[str, Any]]) -> None:
    """Print what several models show together."""
    from rich.console import Console

    for result in results:
        if result.get("schema") == TOGETHER:
            for table in part_tables(result):
                Console().print(table)
