"""Tests for paired changes: sign flips of whole prompts, and the false discovery rate over many probes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rewardsmith.stats.intervals import Floats

# With 9,999 flips the smallest p value is 1e-4; over 45 probes that still gives q = 0.0045.
FLIPS = 9_999
CHUNK_CELLS = 2_000_000


def sign_flip_p_values(
    sums_CP: Floats, flips: int = FLIPS, seed: int = 0, sides: Sequence[int] | None = None
) -> list[float]:
    """Give p values of the hypothesis that the changes of each column are symmetric about 0.

    The changes of one prompt are not independent, so the sign of a whole prompt is flipped at once. The observed
    signs count as one of the draws, so no p value is 0 (Phipson and Smyth 2010).

    Args:
        sums_CP: sum of the changes of prompt C under probe P; 0 where a probe does not apply.
        flips: random sign vectors; all columns share them.
        seed: of the generator.
        sides: for each column 0 for a two-sided test, 1 for a test against a rise only, -1 against a fall only; None
            tests all on two sides.

    Example:
        >>> sign_flip_p_values(np.zeros((5, 1)))
        [1.0]
    """
    generator = np.random.default_rng(seed)
    sides_P = np.zeros(sums_CP.shape[1]) if sides is None else np.asarray(sides, dtype=np.float64)
    # Sums of the same numbers in another order differ in their last bits.
    limit = _size(sums_CP.sum(axis=0), sides_P) - 1e-9 * np.abs(sums_CP).sum(axis=0)
    reached = np.zeros(sums_CP.shape[1])
    step = max(1, CHUNK_CELLS // max(1, len(sums_CP)))
    for start in range(0, flips, step):
        rows = min(step, flips - start)
        signs = generator.integers(0, 2, size=(rows, len(sums_CP)), dtype=np.int8) * 2.0 - 1.0
        reached += (_size(signs @ sums_CP, sides_P) >= limit).sum(axis=0)
    return [float(p) for p in (reached + 1) / (flips + 1)]


def _size(sums: Floats, sides_P: Floats) -> Floats:
    """Give how far sums lie on the side that is tested; on both where that is 0."""
    return np.where(sides_P == 0, np.abs(sums), sums * sides_P)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Give q values (Benjamini and Hochberg 1995), in the given order; a NaN is no test and stays NaN.

    Example:
        >>> [round(q, 3) for q in benjamini_hochberg([0.01, 0.04, 0.03])]
        [0.03, 0.04, 0.04]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    lowest = 1.0
    for rank in range(len(order), 0, -1):
        p, index = order[rank - 1]
        lowest = min(lowest, p * len(order) / rank)
        adjusted[index] = lowest
    return adjusted
