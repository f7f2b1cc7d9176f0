"""How few labels a duel of two reward models needs, and how often its interval covers, on simulated people.

    python benchmarks/duel.py

3,000 pairs; two models see the gold difference with noise of their own; one noisy person votes on every pair, and the
truth is what all 3,000 votes say. Printed: how often a duel of 300 draws has the right order and with what share of the
labels, and how often the 95% interval covers, without stopping and where labelling stops at a width of 0.05.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from rewardsmith.collecting.duel import FEWEST, DuelPlan, judge_duel, plan_duel

PAIRS, DRAWS, NARROW, CHECK_EVERY = 3000, 300, 0.05, 10
Floats = NDArray[np.float64]


def population(seed: int, noise: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Return two models' differences and one vote for every pair."""
    generator = np.random.default_rng(seed)
    gold = generator.normal(0, 1.2, PAIRS)
    first, second = (gold + generator.normal(0, scale, PAIRS) for scale in noise)
    return first, second, (generator.random(PAIRS) < 1 / (1 + np.exp(-2 * gold))).astype(float)


def truth(a: Floats, b: Floats, votes: Floats) -> float:
    """Return the difference of accuracies over all pairs."""
    return float(np.mean(((a > 0) == (votes > 0.5)).astype(float) - ((b > 0) == (votes > 0.5))))


def main() -> None:
    """Print one line a question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duels", type=int, default=500)
    args = parser.parse_args()
    right, labels = 0, []
    for seed in range(args.duels):
        a, b, votes = population(seed, (0.7, 1.3))
        result = judge_duel(plan_duel(a, b, DRAWS, seed=seed), dict(enumerate(votes)))
        right += (result.difference.value > 0) == (truth(a, b, votes) > 0)
        labels.append(result.labels)
    print(f"order right in {right} of {args.duels} duels, with {np.mean(labels) / PAIRS:.1%} of the labels")
    for stops in (False, True):
        covered, used = zip(*(covers(seed, stops) for seed in range(args.duels)), strict=True)
        rule = f"stopping at {NARROW} on either side" if stops else f"{DRAWS} draws"
        print(f"{rule}: interval covers {np.mean(covered):.1%}, {np.mean(used) / PAIRS:.1%} of the labels", flush=True)


def covers(seed: int, stops: bool) -> tuple[bool, int]:
    """Return whether the interval of one duel holds the truth, and how many labels it took."""
    a, b, votes = population(seed, (0.8, 1.0))
    plan = plan_duel(a, b, DRAWS, seed=seed)
    known = dict(enumerate(votes))
    ends = range(FEWEST, DRAWS + 1, CHECK_EVERY) if stops else (DRAWS,)
    for end in ends:
        result = judge_duel(DuelPlan(plan.gaps_a, plan.gaps_b, plan.chances, plan.draws[:end]), known, NARROW)
        if result.settled and stops:
            break
    return result.difference.low <= truth(a, b, votes) <= result.difference.high, result.labels


if __name__ == "__main__":
    main()
