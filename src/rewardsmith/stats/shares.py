"""A share with a 95% interval that knows that judgements of one prompt are not independent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rewardsmith.records import Estimate


def clustered_share(values: Any, clusters: Any) -> Estimate:
    """Give the mean of values in [0, 1] with a cluster-robust interval.

    Var = G / (G - 1) * sum over clusters of (sum of the deviations from the mean)^2 / n^2, with quantiles of t with
    G - 1 degrees of freedom (Cameron and Miller 2015, "A Practitioner's Guide to Cluster-Robust Inference",
    equations 6 and 11). It takes one pass, where a bootstrap would take thousands. When all values are 0, or all 1,
    Wilson's interval over clusters stands in. Fewer than two clusters give no interval, no values NaN.

    Args:
        values: n numbers.
        clusters: n labels, such as keys of prompts.

    Example:
        >>> print(clustered_share([1, 1, 0, 1], [0, 1, 2, 3]))
        0.750 [0.000, 1.000] (n=4)
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return Estimate(math.nan, 0)
    mean = float(numbers.mean())
    inverse = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.bincount(inverse, numbers - mean)
    size = len(sums)
    if size < 2:
        return Estimate(mean, len(numbers))
    spread = math.sqrt(size / (size - 1) * float((sums**2).sum())) / len(numbers)
    if spread < 1e-12:
        return Estimate(mean, len(numbers), *(_wilson(mean, size) if mean in (0.0, 1.0) else ()))
    from scipy.special import stdtrit

    half = float(stdtrit(size - 1, 0.975)) * spread
    return Estimate(mean, len(numbers), max(0.0, mean - half), min(1.0, mean + half))


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Give Wilson's interval (Wilson 1927) of a share of n."""
    z2 = 1.959963984540054**2
    edge = z2 / (n + z2)
    return (0.0, edge) if share == 0 else (1 - edge, 1.0)
