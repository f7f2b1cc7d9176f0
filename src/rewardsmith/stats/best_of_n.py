"""What best-of-n is worth: the unbiased estimate from N samples of a prompt, how far it moves the policy, and where the
curve of a gold reward turns.

The form of Gao, Schulman and Hilton 2022 (arXiv 2210.10760): with d = sqrt(KL), the gain in gold reward is about
d (alpha - beta d), which turns at alpha / (2 beta). Fitted to a whole curve of another form it turns too early or too
late. So where the curve turns is read from the curve itself, at every n, smoothed by a parabola in d close to its
peak; on a curve of Gao's form both are the same number. Its interval holds every place, connected with the peak, at
which the slope of the smoothed curve cannot be told from 0 by a t test over prompts. A slope is a mean over prompts;
the place of a highest value is not, so percentiles of bootstrapped places hold the truth too rarely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import gammaln

from rewardsmith.errors import DataError
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_amount

# The parabola is fitted to this distance in d on either side of the peak: wide enough to smooth noise, narrow enough
# that curves which fall faster than they rose are not misread.
AROUND = 0.2
# Beyond so many, sizes of the curve are spaced evenly on a logarithmic scale.
MAX_DENSE = 200


def best_of_n(proxy: object, values: ArrayLike, sizes: tuple[int, ...]) -> Floats:
    """Return the expected value of the answer that the proxy prefers among n, for each n of `sizes`.

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
    """Return log n - (n - 1) / n, in nats: the Kullback-Leibler divergence of best-of-n from the policy.

    Exact where the reward has no ties, an upper bound otherwise (Beirami et al. 2024, arXiv 2401.01879).

    Example:
        >>> round(best_of_n_kl(16), 3)
        1.835
    """
    return float(np.log(n) - (n - 1) / n)


def n_of_kl(kl: float) -> float:
    """Return the n, not necessarily whole, whose divergence is `kl`."""
    return 1.0 if kl <= 0 else float(brentq(lambda n: best_of_n_kl(n) - kl, 1.0, float(np.exp(kl + 1.0)) + 1.0))


@lru_cache(maxsize=64)
def _weights(num: int, sizes: tuple[int, ...]) -> Floats:
    """Return C(i-1, n-1) / C(N, n) for every n and i = 1..N, by logarithms since the binomials overflow."""
    place = np.arange(1, num + 1, dtype=np.float64)
    rows = []
    for n in sizes:
        log_all = gammaln(num + 1) - gammaln(n + 1) - gammaln(num - n + 1)
        inside = np.maximum(place - n + 1, 1.0)
        log_below = gammaln(place) - gammaln(n) - gammaln(inside)
        rows.append(np.where(place >= n, np.exp(log_below - log_all), 0.0))
    return np.stack(rows)


@dataclass(frozen=True, slots=True)
class TurningFit:
    """Where gold(n) turns, and the least-squares fit of gold(n) - gold(1) = d (alpha - beta d) over the sizes n.

    Args:
        alpha: gain in gold reward per sqrt(nat) at the start, with its interval over prompts.
        beta: how fast the gain is lost.
        turning_kl: where the curve turns, in nats: the vertex of a parabola in d around the peak; NaN where the curve
            is highest at its end. Its `high` is NaN where gold may still rise at the end of the curve.
        turning_n: the n of that divergence, not necessarily whole; NaN likewise.
        turning_kl_of_fit: where the fit turns, (alpha / (2 beta))^2; NaN where that lies beyond the curve.
        peak_n: of the sizes that the fit uses, the one with the highest mean gold reward.
        misfit: largest distance of curve and fit as a share of the curve's range.
        reason: why the turning point is undefined; None where it is defined.
    """

    alpha: Estimate
    beta: Estimate
    turning_kl: Estimate
    turning_n: float
    turning_kl_of_fit: Estimate
    peak_n: int
    misfit: float
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None for NaN."""
        return {
            "alpha": _plain(self.alpha.value),
            "beta": _plain(self.beta.value),
            "turning_kl": self.turning_kl.to_dict(),
            "turning_n": _plain(self.turning_n),
            "turning_kl_of_fit": self.turning_kl_of_fit.to_dict(),
            "alpha_interval": self.alpha.to_dict(),
            "beta_interval": self.beta.to_dict(),
            "peak_n": self.peak_n,
            "misfit": _plain(self.misfit),
            "reason": self.reason,
        }


def dense_sizes(largest: int) -> tuple[int, ...]:
    """Return sizes from 1 to `largest`: all of them where they are few, else closer together where n is small."""
    every = np.unique(np.round(np.geomspace(1, largest, MAX_DENSE)).astype(int))
    return tuple(range(1, largest + 1)) if largest <= MAX_DENSE else tuple(every.tolist())


def fit_turning(curve: tuple[Sequence[int], Floats], fit_sizes: Sequence[int], how: Resampling) -> TurningFit:
    """Find where the mean gain in gold reward turns, and fit d (alpha - beta d) to it.

    Args:
        curve: N sizes n, the first of them 1, and the gold reward of the answer chosen among n for each of G prompts,
            of shape (G, N).
        fit_sizes: those sizes that alpha and beta are fitted to.
    """
    sizes, gold_GN = curve
    kl = np.array([best_of_n_kl(n) for n in sizes])
    gains = gold_GN - gold_GN[:, :1]
    mean, undefined = gains.mean(axis=0), Estimate(math.nan, len(gains))
    chosen = [sizes.index(n) for n in fit_sizes]
    peak = fit_sizes[int(np.argmax(mean[chosen]))]
    if len(fit_sizes) < 3 or float(np.abs(mean).max()) < 1e-12:
        why = "fewer than three sizes n" if len(fit_sizes) < 3 else "the gold reward does not change with n"
        return TurningFit(undefined, undefined, undefined, math.nan, undefined, peak, math.nan, why)
    design = np.stack([np.sqrt(kl[chosen]), -kl[chosen]], axis=1)
    # Least squares is linear in the curve, so the fit of the mean is the mean of the prompts' fits.
    parts = gains[:, chosen] @ np.linalg.pinv(design).T
    misfit = float(np.abs(design @ parts.mean(axis=0) - mean[chosen]).max() / np.ptp(mean[chosen]))
    alpha, beta = (bootstrap_amount(column, None, how.resamples, how.seed) for column in parts.T)
    turning = _turning(np.sqrt(kl), gains)
    of_fit = _estimate(
        _turning_kl(parts.mean(axis=0)[None], kl[-1]), _turning_kl(_resampled_means(parts, how), kl[-1]), len(gains)
    )
    reason = None
    if math.isnan(turning.value):
        reason = f"does not turn within range: it is highest at the end of the curve, {kl[-1]:.2f} nats"
    return TurningFit(alpha, beta, turning, _n_or_nan(turning.value), of_fit, peak, misfit, reason)


def _estimate(value_1: Floats, draws_R: Floats, size: int) -> Estimate:
    """Return a turning point with a percentile interval; NaN where there is none, `high` where there may be none."""
    value = float(value_1[0])
    if math.isinf(value) or size < 2:
        return Estimate(math.nan if math.isinf(value) else value, size)
    low, high = np.quantile(draws_R, [0.025, 0.975], method="inverted_cdf")
    return Estimate(value, size, min(float(low), value), max(float(high), value) if math.isfinite(high) else math.nan)


def _turning(d: Floats, gains_GN: Floats) -> Estimate:
    """Return where the mean curve is highest: 0 where it falls from the start, NaN where that is its end."""
    peak, size = int(np.argmax(gains_GN.mean(axis=0))), len(gains_GN)
    if peak == len(d) - 1:
        return Estimate(math.nan, size)
    solve = _smoother(d)
    place = d[peak]
    if peak > 0:
        _, slope, bend = solve[peak - 1] @ gains_GN.mean(axis=0)
        reach = AROUND if bend < 0 else 0.0
        place += float(np.clip(-slope / (2 * bend), -reach, reach)) if reach else 0.0
    if size < 2:
        return Estimate(float(place**2), size)
    low, high = _slope_interval(d, gains_GN @ solve[:, 1].T, max(peak - 1, 0))
    return Estimate(float(place**2), size, min(low, place) ** 2, max(high, place) ** 2)


def _smoother(d: Floats) -> Floats:
    """Return what takes a curve to the parabola in d around each inner place: height, slope, bend; (N - 2, 3, N)."""
    # Sizes stand closer together in d the larger they are; each counts for the stretch that it stands for.
    stretch = np.sqrt(np.gradient(d))
    solve = np.zeros((len(d) - 2, 3, len(d)))
    for place in range(1, len(d) - 1):
        near = np.flatnonzero(np.abs(d - d[place]) <= AROUND)
        near = near if len(near) > 2 else np.arange(place - 1, place + 2)
        x = d[near] - d[place]
        parabola = np.stack([x**0, x, x**2], axis=1) * stretch[near, None]
        solve[place - 1][:, near] = np.linalg.pinv(parabola) * stretch[near]
    return solve


def _slope_interval(d: Floats, slopes_GM: Floats, peak: int) -> tuple[float, float]:
    """Return the ends in d of where the slope may be 0; the end is NaN where gold may still rise at its end.

    Args:
        d: N places.
        slopes_GM: slope of each prompt's smoothed curve at the M = N - 2 inner places.
        peak: inner place from which the interval reaches out.
    """
    from scipy import stats

    size, inner = len(slopes_GM), d[1:-1]
    mean = slopes_GM.mean(axis=0)
    edge = stats.t.ppf(0.975, size - 1) * slopes_GM.std(axis=0, ddof=1) / math.sqrt(size)
    rises, falls = np.flatnonzero(mean - edge > 0), np.flatnonzero(mean + edge < 0)
    rises, falls = rises[rises <= peak], falls[falls >= peak]
    low, high = 0.0, math.nan
    if len(rises):
        low = _zero(inner, mean - edge, int(rises[-1]))
    if len(falls):
        high = _zero(inner, mean + edge, int(falls[0]) - 1) if falls[0] > 0 else float(inner[0])
    return low, high


def _zero(x: Floats, y: Floats, left: int) -> float:
    """Return where y crosses 0 on the straight line from `left` to its neighbour."""
    right = min(left + 1, len(x) - 1)
    step = y[left] - y[right]
    return float(x[left] + (x[right] - x[left]) * (y[left] / step if step > 0 else 0.0))


def _turning_kl(parts_R2: Floats, largest_kl: float) -> Floats:
    """Return (alpha / (2 beta))^2; 0 where gold falls from the start, infinite where it turns beyond the curve."""
    alpha, beta = parts_R2[:, 0], parts_R2[:, 1]
    turns = np.where(beta > 0, np.maximum(alpha, 0.0) / np.where(beta > 0, 2 * beta, 1.0), np.inf) ** 2
    return np.where(turns <= largest_kl, turns, np.inf)


def _resampled_means(values_GC: Floats, how: Resampling) -> Floats:
    """Return the means over `resamples` draws of prompts, all columns from the same draws."""
    generator = np.random.default_rng(how.seed)
    size = len(values_GC)
    counts = generator.multinomial(size, np.full(size, 1 / size), size=how.resamples)
    return counts @ values_GC / size


def _n_or_nan(kl: float) -> float:
    return math.nan if math.isnan(kl) else n_of_kl(kl)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
