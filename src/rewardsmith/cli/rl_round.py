"""`rewardsmith rl round SETTINGS OUT`: rounds of answers, judgements, reward model and policy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardsmith.rl.rounds import RoundsResult

EXAMPLES = """examples:
  rewardsmith rl round rounds my-rounds --policy POLICY --reward_start BASE --prompts prompts.jsonl --judge people
  rewardsmith rl round my.yaml my-rounds        # again: goes on where it stopped"""
FLAGS = ("policy", "reward_start", "prompts", "pick", "judge", "gold", "algorithm")
NUMBERS = ("num_rounds", "labels", "candidates", "seed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; each stands over the key of its name in the YAML."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("settings", help="a YAML file, or the name of one in recipes/ (rounds)")
    parser.add_argument("out", type=Path, help="folder of the run; one that it holds goes on")
    for name in FLAGS:
        parser.add_argument(f"--{name}", help="see docs/rounds.md")
    for name in NUMBERS:
        parser.add_argument(f"--{name}", type=int, metavar="N", help="see docs/rounds.md")


def run(args: argparse.Namespace) -> int:
    """Do what is left of the rounds and print what they bought. Returns 0."""
    from rewardsmith.clients.opening import open_scorer
    from rewardsmith.files.settings import read_settings
    from rewardsmith.rl.policy import load_prompts
    from rewardsmith.rl.rounds import Rounds, RoundSettings
    from rewardsmith.training.launching import quiet_other_packages
    from rewardsmith.training.recipes import read_recipe

    source, values = read_recipe(args.settings)
    given = {name: getattr(args, name) for name in (*FLAGS, *NUMBERS)}
    settings = read_settings(
        RoundSettings, values | {name: value for name, value in given.items() if value is not None}, source
    )
    quiet_other_packages()
    gold = open_scorer(settings.gold) if settings.gold else None
    rounds = Rounds(settings, args.out, load_prompts(settings.prompts), gold, lambda line: print(line, file=sys.stderr))
    show(rounds.run())
    return 0


def show(result: RoundsResult) -> None:
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
