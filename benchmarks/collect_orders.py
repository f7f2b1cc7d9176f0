"""Labels that a reward model needs when people judge pairs in the orders of `rewardsmith collect order`.

    python benchmarks/collect_orders.py

Pool and test set come from the simulator, whose gold reward is known. The model is a logistic regression on 64 random
projections of the words of an answer; it is fitted anew after every 25 labels and orders the rest of the pool. Labels
are given by one simulated annotator (temperature 0.7). Printed: labels until the accuracy on held-out pairs, against
gold, first reaches the target, the mean over seeds and every seed.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from rewardsmith.data.gold import gold_reward
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.stats.ordering import Order, Prediction, order_values

SIZE, BATCH, POOL, TEST = 64, 25, 1200, 600
ORDERS: tuple[Order, ...] = ("random", "gap", "uncertainty", "fisher")


def features(text: str, table: dict[str, np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Project the word counts of a text."""
    total = np.zeros(SIZE)
    for word, count in Counter(text.lower().split()).items():
        if word not in table:
            table[word] = generator.normal(size=SIZE) / np.sqrt(SIZE)
        total += count * table[word]
    return total


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit a ridge logistic regression without intercept."""

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ w
        return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * w @ w), x.T @ (expit(z) - y) + w

    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


def run(order: Order, seed: int, target: float, most: int) -> int | None:
    """Return how many labels the target took; None when `most` did not reach it."""
    config = SimulationConfig(
        prompts=POOL + TEST, answers=(2, 2), seed=seed, annotators=AnnotatorConfig(raters=1, temperature=0.7)
    )
    generator, table = np.random.default_rng(seed), {}
    pairs, labels, gold = [], [], []
    for group in simulate(config):
        pairs.append(np.stack([features(str(text), table, generator) for text in group.completions]))
        labels.append(float(group.comparisons[0].better == 0))
        first, second = (gold_reward(group.prompt, text) for text in group.completions)
        gold.append(first - second)
    both, y, gap = np.array(pairs), np.array(labels), np.array(gold)
    x = both[:, 0] - both[:, 1]
    known = list(range(BATCH))
    while len(known) < most:
        w = fit(x[known], y[known])
        if np.mean(np.sign(x[POOL:] @ w) == np.sign(gap[POOL:])) >= target:
            return len(known)
        rest = [n for n in range(POOL) if n not in set(known)]
        if order == "random":
            known += rest[:BATCH]
            continue
        predictions = [Prediction(both[n] @ w, both[n]) for n in rest]
        values = np.array(order_values(order, predictions))
        known += [rest[n] for n in np.argsort(-values, kind="stable")[:BATCH]]
    return None


def main() -> None:
    """Print one line an order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=POOL)
    args = parser.parse_args()
    for order in ORDERS:
        found = [run(order, seed, args.target, args.most) for seed in range(args.seeds)]
        reached = [count for count in found if count is not None]
        mean = f"{np.mean(reached):.0f}" if len(reached) == len(found) else "-"
        print(f"{order:<12} {mean:>5}   {', '.join('not reached' if c is None else str(c) for c in found)}", flush=True)


if __name__ == "__main__":
    main()
