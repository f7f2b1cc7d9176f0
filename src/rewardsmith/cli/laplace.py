"""`rewardsmith laplace FOLDER DATA`: how sure is a model's head, by a Laplace approximation of its last layer?"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", help="a model with one head and a contract; the result is stored in it")
    parser.add_argument("data", help="the judgements that it was trained on")
    parser.add_argument("--held-out", help="judgements whose log loss chooses the prior (default: marginal likelihood)")
    parser.add_argument("--prior-precision", type=float, help="a given precision of the prior")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")


def run(args: argparse.Namespace) -> int:
    """Fit, store and say what was found. Returns 0."""
    from transformers.utils import logging

    from rewardsmith.scoring.laplace import fit_laplace

    logging.disable_progress_bar()
    fit = fit_laplace(
        args.folder, args.data, held_out=args.held_out, prior_precision=args.prior_precision, device=args.device
    )
    print(
        f"prior precision {fit.prior_precision:.4g} ({fit.chosen_by}); {fit.comparisons} comparisons determine "
        f"{fit.effective:.1f} of {len(fit.centre)} directions of the head"
    )
    print(f"next: rewardsmith score {args.folder} IN OUT --parts gives each reward's standard deviation as spread")
    return 0
