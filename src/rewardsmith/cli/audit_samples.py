"""`rewardsmith audit --samples`: answers sampled from a policy, for reward variance and over-optimisation."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.audit.caching import CachingScorer
from rewardsmith.audit.over_optimisation import audit_over_optimisation
from rewardsmith.audit.reward_variance import measure_variance
from rewardsmith.audit.samples import read_samples
from rewardsmith.audit.verifiable import CORRECT, rate_final_numbers
from rewardsmith.cli.audit_data import draw_groups, load_data
from rewardsmith.cli.options import open_scorer
from rewardsmith.cli.parsing import UsageError
from rewardsmith.errors import DataError
from rewardsmith.evaluation import Resampling
from rewardsmith.records import PreferenceGroup, ScoreRequest

RATING = "rating:"
FINAL_NUMBER = "final-number:"
SIMULATOR = re.compile(r"simulator(?::(\d+)x(\d+))?$")


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """Add --samples and --gold."""
    parser.add_argument(
        "--samples",
        metavar="PATH[:READER]",
        help="many answers of each prompt, sampled from one policy: variance of the reward and, with --gold, "
        "over-optimisation. simulator:100x64 samples 64 answers of 100 prompts of the simulator",
    )
    parser.add_argument(
        "--gold",
        metavar="SCORER|rating:NAME|final-number:COLUMN",
        help="what judges the chosen samples: a better scorer, simulator:gold, or a rating of the samples, such as "
        "rating:correct; or final-number:COLUMN, a column that holds the right number",
    )


@dataclass(frozen=True, slots=True)
class Samples:
    """Sampled answers and what judges them.

    Args:
        groups: of prompts with their answers.
        gold: a scorer, the name of a rating, or None for the variance alone.
    """

    groups: Sequence[PreferenceGroup]
    gold: Any

    def parts(self, scorer: Any, how: Resampling) -> Mapping[str, Callable[[Any], Any]]:
        """Give the parts of an audit that need samples, to be handed to `audit(..., extra=...)`."""
        name = "reward_variance" if self.gold is None else "over_optimisation"
        return {name: lambda scored: self._measure(CachingScorer(scorer), how)}

    def _measure(self, proxy: CachingScorer, how: Resampling) -> dict[str, Any]:
        """Measure on the prompts all of whose answers can be scored; the others are counted."""
        rows = proxy.try_requests([ScoreRequest.of_group(group) for group in self.groups])
        kept = [place for place, row in enumerate(rows) if None not in row]
        groups = [self.groups[place] for place in kept]
        if self.gold is None:
            rewards = [np.array(rows[place], dtype=np.float64) for place in kept if len(rows[place]) > 1]
            if not rewards:
                raise DataError("--samples: no prompt has two answers that can be scored")
            plain: dict[str, Any] = measure_variance(rewards, how).to_dict()
        else:
            found = audit_over_optimisation(proxy, self.gold, groups, how).to_dict()
            plain = {**found, "samples": {**found["samples"], "left_out_not_scored": len(rows) - len(kept)}}
        return plain


def load_samples(args: argparse.Namespace) -> Samples | None:
    """Load what --samples and --gold name; None where nothing was asked for."""
    if args.samples is None:
        if args.gold is not None:
            raise UsageError("--gold needs --samples: answers that were sampled from a policy")
        return None
    simulated = SIMULATOR.match(args.samples)
    if simulated:
        from rewardsmith.data.simulate import sample_groups

        prompts, answers = (
            int(number) if number else default for number, default in zip(simulated.groups(), (100, 64), strict=True)
        )
        return Samples(sample_groups(prompts, answers, args.seed), _open_gold(args.gold or "simulator:gold", args))
    groups = _read(args)
    if args.gold is not None and args.gold.startswith(FINAL_NUMBER):
        return Samples(rate_final_numbers(groups, args.gold.removeprefix(FINAL_NUMBER)), CORRECT)
    return Samples(groups, _open_gold(args.gold, args) if args.gold else None)


def _read(args: argparse.Namespace) -> list[PreferenceGroup]:
    """Read the samples: with repeated answers where the file is one of samples, else as preference data are read."""
    if args.reader is None and Path(args.samples).is_file():
        groups = read_samples(args.samples, args.limit)
        if groups is not None:
            return draw_groups(groups, args.draw, args.seed)
    options = {"split": args.split, "limit": args.limit, "on_error": "count" if args.skip_bad else "raise"}
    data = load_data([args.samples], args.reader, options, (args.draw, args.seed))
    for line in data.notes:
        print(f"samples: {line}", file=sys.stderr)
    return data.groups


def _open_gold(name: str, args: argparse.Namespace) -> Any:
    """Give the name of a rating or a scorer."""
    return name.removeprefix(RATING) if name.startswith(RATING) else CachingScorer(open_scorer(name, args))
