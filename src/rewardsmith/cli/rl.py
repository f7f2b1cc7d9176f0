"""`rewardsmith rl COMMAND ...`: the table of commands that use a reward, rounds of them, and best of n."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.cli.main import declare_commands, run_area
from rewardsmith.cli.options import SCORER_HELP, add_limit, add_model_options, open_scorer

if TYPE_CHECKING:
    from rewardsmith.rl.rounds import RoundsResult

# Command -> (module, one-line summary).
COMMANDS = {
    "grpo": ("rl_optimise", "group-relative policy optimisation, by TRL's trainer"),
    "rloo": ("rl_optimise", "REINFORCE with a leave-one-out baseline, by TRL's trainer"),
    "ppo": ("rl_optimise", "proximal policy optimisation with a value model"),
    "raft": ("rl_optimise", "rounds of best of n and supervised training on the best"),
    "round": ("rl", "rounds of answers, judgements, reward model and policy, restartable at any point"),
    "best-of-n": ("rl", "sample n answers, keep the best by a reward; KL, gain and gold with intervals"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared by its own file."""
    declare_commands(parser, "rl", "Optimise a policy against a reward.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one command. Returns its exit code."""
    return run_area("rl", COMMANDS, args)


ROUND_FLAGS = {
    "policy": "language model of the first round: folder or hub id",
    "reward_start": "model that every round's reward model is trained from: folder or hub id",
    "prompts": "rows with a column prompt, preference data, or simulator:N[,SEED]",
    "pick": "which pairs are judged, by the last round's reward model: random, gap, uncertainty or fisher",
    "judge": "simulator, or people: the run ends with the pairs in a file and goes on with their judgements",
    "gold": "a second reward that nothing is optimised by, named like any scorer",
    "algorithm": "how the policy is optimised: raft, grpo, rloo or ppo",
}
ROUND_NUMBERS = {
    "num_rounds": "rounds in all; may be raised for a run that is there (default 3)",
    "labels": "pairs that are judged in each round (default 200)",
    "candidates": "pairs to pick them from (default four a label)",
    "seed": "of sampling, training and judging (default 0)",
}


def configure_round(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; each stands over the key of its name in the YAML."""
    parser.add_argument("settings", help="a YAML file, or the name of one in recipes/ (rounds)")
    parser.add_argument("out", type=Path, help="folder of the run; one that it holds goes on")
    for name, says in ROUND_FLAGS.items():
        parser.add_argument(f"--{name}", help=says)
    for name, says in ROUND_NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=says)


def run_round(args: argparse.Namespace) -> int:
    """Do what is left of the rounds and print what they bought. Returns 0."""
    from rewardsmith.files.settings import read_settings
    from rewardsmith.rl.columns import load_columns
    from rewardsmith.rl.policy import load_prompts
    from rewardsmith.rl.rewards import open_gold
    from rewardsmith.rl.rounds import Rounds, RoundSettings
    from rewardsmith.training.launching import quiet_other_packages
    from rewardsmith.training.recipes import read_recipe

    source, values = read_recipe(args.settings)
    given = {name: getattr(args, name) for name in (*ROUND_FLAGS, *ROUND_NUMBERS)}
    settings = read_settings(
        RoundSettings, values | {name: value for name, value in given.items() if value is not None}, source
    )
    quiet_other_packages()
    gold = open_gold(settings.gold, None, load_columns(settings.prompts)) if settings.gold else None
    rounds = Rounds(settings, args.out, load_prompts(settings.prompts), gold, lambda line: print(line, file=sys.stderr))
    show_rounds(rounds.run())
    return 0


def show_rounds(result: RoundsResult) -> None:
    """Print the table of rounds, or what is waited for."""
    from rewardsmith.blocks.kinds import Table
    from rewardsmith.blocks.text import print_blocks

    rows: list[list[Any]] = []
    for one in result.rounds:
        reward = one.after.estimate("reward")
        gold = one.after.estimate("gold") if one.after.known("gold") else None
        cost = f"{one.labels / one.gain.value:.0f}" if one.gain is not None and one.gain.value > 0 else ""
        rows.append([one.number, one.labels, reward, gold or "", one.gain or "", cost])
    if rows:
        head = ("round", "labels", "reward", "gold", "gain of gold from the start", "labels a point of gold")
        print_blocks([Table(f"{len(rows)} rounds", head, rows)])
    if result.waiting is not None:
        judged = result.waiting.with_name("judgements.jsonl")
        print(f"waiting for people: judge {result.waiting} (rewardsmith collect import {result.waiting}), write the")
        print(f"judgements to {judged} (rewardsmith collect export {judged}), and run the same command again")


def configure_best_of_n(parser: argparse.ArgumentParser) -> None:
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


def run_best_of_n(args: argparse.Namespace) -> int:
    """Sample, choose, write, and print what it bought. Returns 0."""
    from rewardsmith.blocks.kinds import Table
    from rewardsmith.blocks.text import print_blocks
    from rewardsmith.files.progress import ProgressBar
    from rewardsmith.rl.best_of_n import BestOfN, best_of_n
    from rewardsmith.rl.columns import load_columns
    from rewardsmith.rl.policy import Sampling, load_prompts, open_policy
    from rewardsmith.rl.rewards import given_columns
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
    columns = load_columns(args.prompts, args.split)
    reward = given_columns(open_scorer(args.reward, args), columns)
    gold = given_columns(open_scorer(args.gold, args), columns) if args.gold else None
    how = {"device": args.device, "dtype": args.dtype or "float32", "trust_remote_code": args.trust_remote_code}
    policy = open_policy(args.policy, **how)
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
