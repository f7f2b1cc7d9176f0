"""`rewardsmith data simulate OUT`: preferences from a known gold reward, judged by annotators of known faults."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, iter_simulated
from rewardsmith.data.simulate.simulation import GOLD
from rewardsmith.files.progress import track
from rewardsmith.files.writing import check_free, write_json
from rewardsmith.records import PreferenceGroup


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", type=Path, help="file to write (.jsonl, .jsonl.gz, .json, .parquet), without loss")
    parser.add_argument("--prompts", type=int, default=1000, help="how many prompts (default 1000)")
    parser.add_argument("--answers", type=_range, default=(2, 6), metavar="2-6", help="answers of a prompt")
    parser.add_argument("--sentences", type=_range, default=(1, 10), metavar="1-10", help="sentences of an answer")
    parser.add_argument("--pairs", type=int, help="judge so many pairs of a prompt; default: all")
    parser.add_argument("--conversational", action="store_true", help="messages instead of text")
    parser.add_argument("--seed", type=int, default=0)
    group = parser.add_argument_group("annotators")
    group.add_argument("--raters", type=int, default=1, help="judgements of each pair; 0: answers only (default 1)")
    group.add_argument("--pool", type=int, help="how many annotators there are; default: as many as --raters")
    group.add_argument("--temperature", type=float, default=0.7, help="Bradley-Terry noise in gold units (default 0.7)")
    group.add_argument("--lapse", type=float, default=0.0, help="chance that a side is picked by coin")
    group.add_argument("--length-bias", type=float, default=0.0, help="gold units per standard deviation of length")
    group.add_argument("--position-bias", type=float, default=0.0, help="gold units for the answer shown first")
    group.add_argument("--tie-threshold", type=float, default=0.0, help="felt differences below it are ties")
    group.add_argument("--order", choices=("fixed", "shuffled"), default="fixed", help="who is shown first")
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at OUT")


def run(args: argparse.Namespace) -> int:
    """Simulate, write the data and its settings, and say what the judgements are worth."""
    check_free(args.out, args.overwrite)
    config = build_config(args)
    counts: Counter[str] = Counter()
    with open_groups(args.out) as write:
        for group in track(iter_simulated(config), "simulate"):
            write(group)
            counts.update(count_judgements(group))
    # A suffix that no reader takes, so that the folder can still be loaded as data.
    settings = args.out.with_name(args.out.name + ".settings")
    write_json(settings, config.to_dict())
    print(f"wrote {counts['prompts']} prompts with {counts['answers']} answers to {args.out}")
    sided = counts["comparisons"] - counts["ties"]
    print(f"{counts['comparisons']} judgements, {counts['ties']} of them ties")
    if sided:
        print(
            f"gold ceiling: the gold reward agrees with {counts['agree'] / sided:.3f} of the {sided} that take a side"
        )
    print(f"settings: {settings}")
    print(f"gold reward: the rating {GOLD!r} of every answer, and the scorer simulator:gold, as in")
    print(f"  rewardsmith evaluate simulator:gold {args.out}")
    return 0


def build_config(args: argparse.Namespace) -> SimulationConfig:
    """Give the settings that the flags ask for. Raises ConfigError for those that cannot be."""
    annotators = AnnotatorConfig(
        raters=args.raters,
        pool=args.pool,
        temperature=args.temperature,
        lapse=args.lapse,
        length_bias=args.length_bias,
        position_bias=args.position_bias,
        tie_threshold=args.tie_threshold,
        order=args.order,
    )
    return SimulationConfig(
        prompts=args.prompts,
        answers=args.answers,
        sentences=args.sentences,
        pairs=args.pairs,
        conversational=args.conversational,
        seed=args.seed,
        annotators=annotators,
    )


def count_judgements(group: PreferenceGroup) -> dict[str, int]:
    """Count what a group holds; `agree` are sided judgements where the gold reward is on the same side."""
    gold: Any = group.ratings[GOLD]
    sided = [edge for edge in group.comparisons if not edge.is_tie]
    return {
        "prompts": 1,
        "answers": len(group),
        "comparisons": len(group.comparisons),
        "ties": group.num_ties,
        "agree": sum(gold[edge.better] > gold[edge.worse] for edge in sided),
    }


def _range(text: str) -> tuple[int, int]:
    """Read "2-6" or "4"."""
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; give 4, or 2-6") from None
