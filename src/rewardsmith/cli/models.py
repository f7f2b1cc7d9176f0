"""`rewardsmith export|average|laplace|verify`: what is made of the folder of a model, and whether it is still whole."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rewardsmith.cli.options import add_source, hide_bars

DTYPES = ("float32", "bfloat16", "float16")


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="a reward model of any tool: folder, adapter or hub id")
    parser.add_argument("out", type=Path, help="folder to write; it appears whole or not at all")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights (default: the model's own)")
    parser.add_argument(
        "--drop-bias",
        action="store_true",
        help="leave out the bias of a value head: rewards shift by one constant, and no code of ours is needed to load",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    add_source(parser)
    text = "do not load the result once more in a fresh process; rewards are compared in any case"
    parser.add_argument("--no-verify", action="store_true", help=text)


def run_export(args: argparse.Namespace) -> int:
    """Export and say what was written and how far the rewards agree."""
    from rewardsmith.scoring.exporting import ExportOptions, export_model

    hide_bars()
    flags = (args.dtype, args.drop_bias, args.overwrite, args.trust_remote_code)
    options = ExportOptions(*flags, not args.no_verify, args.revision)
    report = export_model(args.model, args.out, options)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"wrote {report.folder}: {report.architecture}, {report.dtype}{', adapter merged' * report.merged}")
    print(f"rule: {report.rule}")
    print(
        f"parity: rewards of {report.texts} texts differ by {report.difference:.1e} at most "
        f"(allowed {report.tolerance:.0e})"
    )
    if report.shift:
        print(f"bias: {report.shift:.6g} was taken off every reward; differences between answers are unchanged")
    if report.own_code:
        print("other tools load it with trust_remote_code=True (--drop-bias avoids that where only a bias asks for it)")
    return 0


def configure_average(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", help="a new folder")
    text = "full models that were fine-tuned from one base, or an ensemble of such"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=text)
    parser.add_argument("--held-out", metavar="DATA", help="judgements that set the scale of the rewards anew")
    add_source(parser)


def run_average(args: argparse.Namespace) -> int:
    """Average, save and say what was done. Returns 0."""
    from rewardsmith.files.tables import at_revision
    from rewardsmith.scoring.averaging import average_models

    hide_bars()
    models = [at_revision(name, args.revision) for name in args.models]
    found = average_models(models, args.out, held_out=args.held_out, trust_remote_code=args.trust_remote_code)
    scaled = f"the head was multiplied by {found.scale:.3f}" if args.held_out else "the scale is that of the mean"
    print(f"{found.folder}: the mean of {found.members} models (lowest cosine {found.cosine:.3f}); {scaled}")
    print(found.ties, end="\n" if found.ties else "")
    return 0


def configure_laplace(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", help="a model with one head and a contract; the result is stored in it")
    parser.add_argument("data", help="the judgements that it was trained on")
    parser.add_argument("--held-out", help="judgements whose log loss chooses the prior (default: marginal likelihood)")
    parser.add_argument("--prior-precision", type=float, help="a given precision of the prior")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="distinct tokens of one forward")
    parser.add_argument("--truncate-prompt", action="store_true", help="cut the start of a prompt that is too long")
    parser.add_argument("--limit", type=int, metavar="N", help="read at most so many groups of each")


def run_laplace(args: argparse.Namespace) -> int:
    """Fit, store and say what was found. Returns 0."""
    from rewardsmith.scoring.laplace import fit_laplace

    hide_bars()
    how = {"device": args.device, "tokens_per_batch": args.batch_tokens, "limit": args.limit}
    how["truncation"] = "truncate_prompt" if args.truncate_prompt else None
    fit = fit_laplace(args.folder, args.data, held_out=args.held_out, prior_precision=args.prior_precision, **how)
    print(
        f"prior precision {fit.prior_precision:.4g} ({fit.chosen_by}); {fit.comparisons} comparisons determine "
        f"{fit.effective:.1f} of {len(fit.centre)} directions of the head"
    )
    print(f"next: rewardsmith score {args.folder} IN OUT --parts gives each reward's standard deviation as spread")
    return 0


def configure_verify(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", help="a model that train or export wrote: folder or hub id")
    add_source(parser)


def run_verify(args: argparse.Namespace) -> int:
    """Print one line a check. Returns 1 when one fails."""
    from rewardsmith.models.verify import verify_folder

    hide_bars()
    failed = 0
    for found in verify_folder(args.folder, args.trust_remote_code, args.revision):
        failed += not found.passed
        print(f"{'ok  ' if found.passed else 'FAIL'}  {found.check}: {found.message}")
    return int(failed > 0)
