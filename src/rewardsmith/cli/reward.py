"""`rewardsmith reward`: the rewards of answers that stand on the command line."""

from __future__ import annotations

import argparse

from rewardsmith.cli.options import add_model_options, open_scorer
from rewardsmith.records import ScoreRequest


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="a reward model (folder or hub id), a server's address, or module:function")
    parser.add_argument("prompt", help="the question, as text")
    parser.add_argument("answer", nargs="+", help="one answer or more")
    parser.add_argument("--json", action="store_true", help="print one JSON object, answers in the order given")
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the reward of each answer, the best first. Returns 0."""
    from rewardsmith.blocks.words import clean
    from rewardsmith.files.writing import to_json

    scorer = open_scorer(args.model, args, args.ensemble)
    (rewards,) = scorer.score_requests([ScoreRequest(args.prompt, tuple(args.answer))])
    if args.json:
        print(to_json({"prompt": args.prompt, "answers": args.answer, "rewards": rewards}))
        return 0
    for reward, answer in sorted(zip(rewards, args.answer, strict=True), reverse=True):
        print(f"{reward:+9.3f}  {clean(answer)}")
    return 0
