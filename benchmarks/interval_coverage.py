"""How often 95% intervals hold the truth, and how often two equally good models are told apart, by simulation.

python benchmarks/interval_coverage.py [SETS]: beta-binomial hits, several judgements a prompt that correlate.
"""

import sys

import numpy as np

from rewardsmith.stats.intervals import Resampling, bootstrap_test, clustered_share

SHARES = (0.55, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
PROMPTS = (100, 300, 1000)
# Judgements a prompt, and how much they correlate.
CLUSTERS = ((1, 0.3), (4, 0.0), (4, 0.3), (8, 0.0), (8, 0.3), (8, 0.5), (16, 0.5))


def chances(generator: np.random.Generator, share: float, size: tuple[int, ...], alike: float = 0.3) -> np.ndarray:
    """Return each prompt's chance of a hit, so that hits of one prompt correlate by `alike`."""
    if not alike:
        return np.full(size, share)
    spread = 1 / alike - 1
    return generator.beta(share * spread, (1 - share) * spread, size)


def coverage(prompts: int, share: float, clusters: tuple[int, float], sets: int) -> float:
    """Return how many of so many simulated intervals hold the share."""
    generator, (judgements, alike) = np.random.default_rng(11), clusters
    names, held = np.repeat(range(prompts), judgements), 0
    for _ in range(sets):
        chance = chances(generator, share, (prompts,), alike).repeat(judgements)
        found = clustered_share(generator.random(len(names)) < chance, names)
        held += found.low <= share <= found.high
    return held / sets


def main(sets: int) -> None:
    """Print coverage by prompts, judgements a prompt, correlation and share, then the size of the test."""
    print("| prompts | judgements | correlation |", " | ".join(map(str, SHARES)), "|")
    print("|---|---|---|" + "---|" * len(SHARES))
    for prompts in PROMPTS:
        for clusters in CLUSTERS:
            cells = (f"{coverage(prompts, share, clusters, sets):.1%}" for share in SHARES)
            print(f"| {prompts} | {clusters[0]} | {clusters[1]} |", " | ".join(cells), "|", flush=True)
    for prompts in (100, 300):
        names = np.repeat(range(prompts), 4)
        for share in (0.65, 0.9):
            generator = np.random.default_rng(3)
            rejected = 0
            for seed in range(sets):
                chance = chances(generator, share, (2, prompts)).repeat(4, axis=-1)
                right = generator.random((2, len(names))) < chance
                rejected += bootstrap_test(right[0] * 1.0 - right[1], names, Resampling(1000, seed))[1] < 0.05
            print(f"{prompts} prompts, two models of {share}: told apart in {rejected / sets:.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
