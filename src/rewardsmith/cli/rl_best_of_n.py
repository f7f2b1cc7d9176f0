"""`rewardsmith rl best-of-n POLICY REWARD PROMPTS OUT`: the best of n sampled answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rewardsmith.cli.options import SCORER_HELP, add_limit, add_model_options, open_scorer


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; those of sampling have TRL's names."""
    parser.add_argument("policy", help="language model that answers: folder or hub id")
    parser.add_argument("reward", help=SCORER_HELP)
    parser.add_argument("prompts", help="rows with a column prompt, preference data, or simulator:N[,SEED]")
    parser.add_argument("out", type=Path, help="output: .jsonl (.gz, .zst), .json, .csv or .parquet")
    parser.add_argument("--n", type=int, default=16, help="answers to each prompt (default 16)")
    parser.add_argument("--gold", metavar="SCORER", help="a second reward that nothing is chosen by")
    parser.add_argument("--take", default="best", help="best (default), top: the k best, pairs: k best against k worst")
    parser.add_argument("--k", type=int, default=1, help="answers or pairs of a prompt (default 1)")
    parser.add_argument("--split", help="split of a data set that holds several")
    add_limit(parser, "prompts")
    parser.add_argument("--overwrite", action="store_true", help="throw away an output or samples that are there")
    group = parser.add_argument_group("sampling")
    group.add_argument("--max_completion_length", "--max-completion-length", type=int, default=256, metavar="TOKENS")
    group.add_argument("--temperature", type=float, default=1.0)
    group.add_argument("--top_p", "--top-p", type=float, default=1.0)
    group.add_argument("--top_k", "--top-k", type=int, default=0)
    group.add_argument("--seed", type=int, default=0)
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Sample, choose, write, and print what it bought. Returns 0."""
    from rewardsmith.blocks.kinds import Table
    from rewardsmith.blocks.text import print_blocks
    from rewardsmith.files.progress import ProgressBar
    from rewardsmith.rl.best_of_n import BestOfN, best_of_n
    from rewardsmith.rl.policy import Sampling, load_prompts, open_policy
    from rewardsmith.scoring.ranking import Choice

    sampling = Sampling(
        max_completion_length=args.max_completion_length,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        seed=args.seed,
    )
    plan = BestOfN(args.n, Choice(args.take, args.k), sampling, args.overwrite)
    prompts = load_prompts(args.prompts, limit=args.limit, split=args.split)
    reward = open_scorer(args.reward, args)
    gold = open_scorer(args.gold, args) if args.gold else None
    policy = open_policy(args.policy, device=args.device, trust_remote_code=args.trust_remote_code)
    with ProgressBar("sampling", len(prompts), "prompts") as bar:
        found = best_of_n(policy, prompts, reward, args.out, plan, gold=gold, show=bar.advance)
    rows = [[f"{kind}, {name}", value] for kind in ("rewards", "gold") for name, value in getattr(found, kind).items()]
    print_blocks([Table(f"best of {args.n}, {found.prompts} prompts", ("", "mean"), rows)])
    print(f"KL from the policy: {found.kl:.4f} nats, log n - (n-1)/n")
    print(f"answers cut at {args.max_completion_length} tokens: {found.cut_share:.1%}; wrote {args.out}")
    for count, what in ((found.not_scored, "could not be scored"), (found.without_signal, "have equal rewards only")):
        if count:
            print(f"{count} prompts {what}; see {args.out}.samples.jsonl", file=sys.stderr)
    return 0
