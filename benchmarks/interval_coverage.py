"""How often 95% intervals hold the truth, and how often two equally good models are told apart, by simulation.

python benchmarks/interval_coverage.py [SETS]: beta-binomial hits, four judgements a prompt, correlation 0.3.
"""

import sys

import numpy as np

from rewardsmith.stats.intervals import Resampling, bootstrap_test, clustered_share

PER_PROMPT, CORRELATION = 4, 0.3


def chances(generator: np.random.Generator, share: float, size: tuple[int, ...]) -> np.ndarray:
    """Return each prompt's chance of a hit, so that hits of one prompt correlate by `CORRELATION`."""
    spread = 1 / CORRELATION - 1
    return generator.beta(share * spread, (1 - share) * spread, size).repeat(PER_PROMPT, axis=-1)


def main(sets: int) -> None:
    """Print coverage by number of prompts and share, then the size of the test of a difference."""
    for prompts in (100, 300, 1000):
        clusters = np.repeat(range(prompts), PER_PROMPT)
        for share in (0.55, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99):
            generator = np.random.default_rng(11)
            hits = 0
            for _ in range(sets):
                found = clustered_share(
                    generator.random(len(clusters)) < chances(generator, share, (prompts,)), clusters
                )
                hits += found.low <= share <= found.high
            print(f"{prompts} prompts, {share}: {hits / sets:.3f}", flush=True)
    for prompts in (100, 300):
        clusters = np.repeat(range(prompts), PER_PROMPT)
        for share in (0.65, 0.9):
            generator = np.random.default_rng(3)
            rejected = 0
            for seed in range(sets):
                right = generator.random((2, len(clusters))) < chances(generator, share, (2, prompts))
                rejected += bootstrap_test(right[0] * 1.0 - right[1], clusters, Resampling(1000, seed))[1] < 0.05
            print(f"{prompts} prompts, two models of {share}: told apart in {rejected / sets:.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
