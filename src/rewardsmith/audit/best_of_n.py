"""What best-of-n is worth: the unbiased estimate from N samples of a prompt, and how far it moves the policy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln

from rewardsmith.errors import DataError

Floats = NDArray[np.float64]


def best_of_n(proxy: Any, values: Any, sizes: tuple[int, ...]) -> Floats:
    """Give the expected value of the answer that the proxy prefers among n, for each n of `sizes`.

    With the N samples in ascending order of the proxy it is the sum over i >= n of C(i-1, n-1) / C(N, n) * value_i:
    the mean over all subsets of n samples, hence unbiased for every n <= N (the estimator of the code of Coste et al.
    2023, arXiv 2310.02743). Samples with equal proxy rewards share the mean of their values, which is the exact mean
    over breaking their ties by chance.

    Args:
        proxy: N rewards that choose.
        values: N values, such as gold rewards, of the same samples; `proxy` itself gives the reward of the chosen.
        sizes: numbers n, each from 1 to N.

    Example:
        >>> best_of_n([0.0, 1.0, 2.0], [5.0, 7.0, 0.0], (1, 2, 3)).round(3).tolist()
        [4.0, 2.333, 0.0]
    """
    rewards, numbers = np.asarray(proxy, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(rewards) != len(numbers) or not sizes or min(sizes) < 1 or max(sizes) > len(rewards):
        raise DataError(f"best-of-n of {len(rewards)} rewards and {len(numbers)} values cannot have the sizes {sizes}")
    _, block = np.unique(rewards, return_inverse=True)
    means = np.bincount(block, numbers) / np.bincount(block)
    return _weights(len(rewards), sizes) @ means[np.sort(block)]


def best_of_n_kl(n: int | float) -> float:
    """Give log n - (n - 1) / n, in nats: the Kullback-Leibler divergence of best-of-n from the policy.

    Exact where the reward has no ties, an upper bound otherwise (Beirami et al. 2024, arXiv 2401.01879).

    Example:
        >>> round(best_of_n_kl(16), 3)
        1.835
    """
    return float(np.log(n) - (n - 1) / n)


def n_of_kl(kl: float) -> float:
    """Give the n, not necessarily whole, whose divergence is `kl`."""
    return 1.0 if kl <= 0 else float(brentq(lambda n: best_of_n_kl(n) - kl, 1.0, float(np.exp(kl + 1.0)) + 1.0))


@lru_cache(maxsize=64)
def _weights(num: int, sizes: tuple[int, ...]) -> Floats:
    """Give C(i-1, n-1) / C(N, n) for every n and i = 1..N, by logarithms since the binomials overflow."""
    place = np.arange(1, num + 1, dtype=np.float64)
    rows = []
    for n in sizes:
        log_all = gammaln(num + 1) - gammaln(n + 1) - gammaln(num - n + 1)
        inside = np.maximum(place - n + 1, 1.0)
        log_below = gammaln(place) - gammaln(n) - gammaln(inside)
        rows.append(np.where(place >= n, np.exp(log_below - log_all), 0.0))
    return np.stack(rows)
