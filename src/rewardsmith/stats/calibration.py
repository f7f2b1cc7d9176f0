"""Do margins mean probabilities? sigmoid(margin / T) against how often the better answer wins.

Bins are of confidence max(p, 1 - p): with the better answer always first, every outcome would be 1 and the bins
one-sided. Brier and NLL do not change with orientation.

A soft label is the share of raters who prefer the better answer: it counts as that share of right outcomes and the rest
of wrong ones, so that it gives the same numbers as its votes one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rewardsmith.stats.intervals import Floats

NUM_BINS = 15
# In smaller bins chance explains any gap, so that debiasing would leave nothing.
MIN_BIN_SIZE = 25
LOG_TEMPERATURE = (math.log(1e-3), math.log(1e4))


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of the reliability diagram: n pairs, their mean confidence and their accuracy."""

    n: int
    confidence: float
    accuracy: float


def fit_temperature(values: Floats, shares: Floats | None = None) -> float:
    """Give T that minimises the mean log loss of sigmoid(margin / T) (Guo et al. 2017); NaN where no margin is not 0.

    T is kept in [0.001, 10000]; a scorer that is always right has no finite optimum and gets the lower end.
    """
    if not values.any():
        return math.nan
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: float(log_losses(values / math.exp(log_t), shares).mean()),
        bounds=LOG_TEMPERATURE,
        method="bounded",
    )
    return math.exp(float(found.x))


def calibration_numbers(values: Floats, num_bins: int = NUM_BINS, shares: Floats | None = None) -> dict[str, float]:
    """Give ECE, Brier with its decomposition, and NLL of margins; `shares` of raters agree, None where all do.

    brier = reliability - resolution + uncertainty + within_bin (Murphy 1973; within_bin is what binning adds,
    Stephenson et al. 2008). Outcomes are "the answer with the higher reward is the better one".
    """
    names = ("ece", "brier", "reliability", "resolution", "uncertainty", "within_bin", "nll")
    if len(values) == 0 or not np.isfinite(values).all():
        return dict.fromkeys(names, math.nan)
    confidence, correct = confidence_and_credit(values, shares)
    brier = float(pair_brier(confidence, correct).mean())
    bins = reliability_bins(values, num_bins, shares)
    share = np.array([item.n for item in bins]) / len(values)
    accuracy = np.array([item.accuracy for item in bins])
    mean = np.array([item.confidence for item in bins])
    rate = float(correct.mean())
    reliability = float(share @ (mean - accuracy) ** 2)
    resolution = float(share @ (accuracy - rate) ** 2)
    uncertainty = rate * (1 - rate)
    rest = brier - (reliability - resolution + uncertainty)
    nll = float(log_losses(values, shares).mean())
    ece = debiased_ece(values, num_bins, shares)
    return dict(zip(names, (ece, brier, reliability, resolution, uncertainty, rest, nll), strict=True))


def debiased_ece(values: Floats, num_bins: int = NUM_BINS, shares: Floats | None = None) -> float:
    """Give the expected calibration error over bins of equal mass, less what chance alone would give.

    The plain sum of |accuracy - confidence| is above 0 even for a perfect scorer. A perfectly calibrated bin of n pairs
    has a squared gap of mean v / n, where v is the mean of p(1 - p); that much is taken off each squared gap (Kumar et
    al. 2019 debias the same way), never below 0. What remains for a perfect scorer is small, not exactly 0.
    """
    confidence, correct = confidence_and_credit(values, shares)
    total = 0.0
    for part in _equal_mass(confidence, num_bins):
        gap = float(correct[part].mean() - confidence[part].mean())
        noise = float((confidence[part] * (1 - confidence[part])).mean()) / len(part)
        total += len(part) / len(values) * math.sqrt(max(0.0, gap * gap - noise))
    return total


def reliability_bins(values: Floats, num_bins: int = NUM_BINS, shares: Floats | None = None) -> tuple[Bin, ...]:
    """Give the reliability diagram over bins of equal mass."""
    confidence, correct = confidence_and_credit(values, shares)
    return tuple(
        Bin(len(part), float(confidence[part].mean()), float(correct[part].mean()))
        for part in _equal_mass(confidence, num_bins)
    )


def log_losses(values: Floats, shares: Floats | None) -> Floats:
    """Give -p log sigmoid(margin) - (1 - p) log sigmoid(-margin) of each pair, for shares p."""
    losses = np.logaddexp(0, -values)
    return losses if shares is None else losses + (1 - shares) * values


def confidence_and_credit(values: Floats, shares: Floats | None) -> tuple[Floats, Floats]:
    """Give max(p, 1-p), and how right the higher reward was: the share of raters on its side (half for a tie)."""
    right = np.ones(len(values)) if shares is None else shares
    return expit(np.abs(values)), np.where(values == 0, 0.5, np.where(values > 0, right, 1 - right))


def pair_brier(confidence: Floats, correct: Floats) -> Floats:
    """Give (1 - P(better wins))^2 of each pair, in the mean over its raters; a tie in reward has p = 1/2."""
    return correct * (1 - confidence) ** 2 + (1 - correct) * confidence**2


def _equal_mass(confidence: Floats, num_bins: int) -> list[np.ndarray]:
    """Split the pairs, sorted by confidence, into at most `num_bins` equal parts of 25 or more."""
    if len(confidence) == 0:
        return []
    return np.array_split(np.argsort(confidence, kind="stable"), min(num_bins, max(1, len(confidence) // MIN_BIN_SIZE)))
