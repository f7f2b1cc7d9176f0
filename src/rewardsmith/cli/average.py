"""`rewardsmith average OUT MODEL MODEL ...`: one model whose weights are the mean of several of one base."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", help="a new folder")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="full models that were fine-tuned from one base, or an ensemble of such",
    )
    parser.add_argument("--held-out", metavar="DATA", help="judgements that set the scale of the rewards anew")
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that a model brings")


def run(args: argparse.Namespace) -> int:
    """Average, save and say what was done. Returns 0."""
    from transformers.utils import logging

    from rewardsmith.scoring.averaging import average_models

    logging.disable_progress_bar()
    found = average_models(args.models, args.out, held_out=args.held_out, trust_remote_code=args.trust_remote_code)
    scaled = f"the head was multiplied by {found.scale:.3f}" if args.held_out else "the scale is that of the mean"
    print(f"{found.folder}: the mean of {found.members} models (lowest cosine {found.cosine:.3f}); {scaled}")
    return 0
