"""What margins say: how they are spread, whether they mean probabilities, and how right a model can be.

sigmoid(margin / T) is held against how often the better answer wins. Bins are of confidence max(p, 1 - p): with the
better answer always first, every outcome would be 1 and the bins one-sided. Brier and NLL do not change with
orientation.

A soft label is the share of raters who prefer the better answer: it counts as that share of right outcomes and the rest
of wrong ones, so that it gives the same numbers as its votes one by one. How often two raters of a pair agree bounds
the accuracy that any model can reach against their labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from rewardsmith.errors import DataError
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_amount, clustered_share

if TYPE_CHECKING:
    from rewardsmith.stats.tie_calibration import TieCalibration

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
    """Return T that minimises the mean log loss of sigmoid(margin / T) (Guo et al. 2017); NaN where no margin is not 0.

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
    """Return ECE, Brier with its decomposition, and NLL of margins; `shares` of raters agree, None where all do.

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
    """Return the expected calibration error over bins of equal mass, less what chance alone would give.

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
    """Return the reliability diagram over bins of equal mass."""
    confidence, correct = confidence_and_credit(values, shares)
    return tuple(
        Bin(len(part), float(confidence[part].mean()), float(correct[part].mean()))
        for part in _equal_mass(confidence, num_bins)
    )


def log_losses(values: Floats, shares: Floats | None) -> Floats:
    """Return -p log sigmoid(margin) - (1 - p) log sigmoid(-margin) of each pair, for shares p."""
    losses = np.logaddexp(0, -values)
    return losses if shares is None else losses + (1 - shares) * values


def confidence_and_credit(values: Floats, shares: Floats | None) -> tuple[Floats, Floats]:
    """Return max(p, 1-p), and how right the higher reward was: the share of raters on its side (half for a tie)."""
    right = np.ones(len(values)) if shares is None else shares
    return expit(np.abs(values)), np.where(values == 0, 0.5, np.where(values > 0, right, 1 - right))


def pair_brier(confidence: Floats, correct: Floats) -> Floats:
    """Return (1 - P(better wins))^2 of each pair, in the mean over its raters; a tie in reward has p = 1/2."""
    return correct * (1 - confidence) ** 2 + (1 - correct) * confidence**2


def _equal_mass(confidence: Floats, num_bins: int) -> list[np.ndarray]:
    """Split the pairs, sorted by confidence, into at most `num_bins` equal parts of 25 or more."""
    if len(confidence) == 0:
        return []
    return np.array_split(np.argsort(confidence, kind="stable"), min(num_bins, max(1, len(confidence) // MIN_BIN_SIZE)))


def ceiling_from_agreement(agreement: float) -> float:
    """Return 1 - e where two raters who each err with chance e agree with chance `agreement` = (1-e)^2 + e^2.

    It is the accuracy of a perfect model against one rater's labels. NaN below 1/2, where no such e exists.

    Example:
        >>> round(ceiling_from_agreement(0.73), 3)
        0.839
    """
    if not 0.5 <= agreement <= 1:
        return math.nan
    return (1 + math.sqrt(2 * agreement - 1)) / 2


def pair_agreement(votes: Floats, clusters: ArrayLike) -> Estimate:
    """Return the mean over pairs of the chance that two of a pair's votes agree; n counts pairs with two or more.

    It has the same expectation for two raters as for twenty.

    Shapes: votes [P, 2], for one side and for the other (ties left out); clusters [P].
    """
    total = votes.sum(axis=1)
    kept = total >= 2
    agree = (votes[kept] * (votes[kept] - 1)).sum(axis=1) / (total[kept] * (total[kept] - 1))
    return clustered_share(agree, np.asarray(clusters)[kept])


def without_copies(votes: Floats, named: object) -> Floats:
    """Return the votes of pairs (copied) without repeated rows that name no rater and never differ: set to 0.

    Where judgements name no rater and repeated ones never differ in the whole data, they are copies of a row, not
    raters who agree.

    Shapes: votes [P, 2], named [P], whether a rater of the pair has a name.
    """
    kept = np.array(votes, dtype=np.float64)
    unnamed = ~np.asarray(named, dtype=bool)
    if not (kept[unnamed].min(axis=1, initial=math.inf) > 0).any():
        kept[unnamed] = 0.0
    return kept


def raters_ceiling(agreement: Estimate) -> Estimate:
    """Return the highest accuracy against single raters' labels that their agreement allows.

    Assumption: every pair is equally hard, so that each rater errs with one chance (`ceiling_from_agreement`). Where
    pairs differ the truth E[max(p, 1 - p)] lies between the agreement itself and this value: with x = |p - 1/2|, E[x]
    is at most the root of E[x^2] and at least 2 E[x^2]. The mean share of the majority, which is often given instead,
    is too high for few raters: two who happen to agree count as certain (.77 for two raters who are right in .65).

    Example:
        >>> round(raters_ceiling(Estimate(0.545, 100)).value, 2)
        0.65
    """
    ends = (agreement.value, agreement.low, agreement.high)
    # Agreement below chance is noise around raters who guess.
    value, low, high = (math.nan if math.isnan(end) else ceiling_from_agreement(max(end, 0.5)) for end in ends)
    return Estimate(value, agreement.n, low, high)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration on the half of the prompts that the temperature was not fitted on.

    Args:
        temperature: minimises NLL on the other half; NaN when that half has no judgements, or all rewards tie.
        n_fit: judgements it was fitted on.
        raw: `ece, brier, reliability, resolution, uncertainty, within_bin` and `nll` at temperature 1.
        scaled: the same at the fitted temperature.
        nll: with interval, at temperature 1.
        brier: with interval, at temperature 1.
        bins: the reliability diagram at temperature 1.
        ties: temperature and threshold of a model of ties, fitted together; None where no judgement is a tie and the
            scorer knows none.
    """

    temperature: float
    n_fit: int
    raw: dict[str, float]
    scaled: dict[str, float]
    nll: Estimate
    brier: Estimate
    bins: tuple[Bin, ...]
    ties: TieCalibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, None for NaN."""
        return {
            "temperature": _none(self.temperature),
            "n_fit": self.n_fit,
            "raw": {name: _none(value) for name, value in self.raw.items()},
            "scaled": {name: _none(value) for name, value in self.scaled.items()},
            "nll": self.nll.to_dict(),
            "brier": self.brier.to_dict(),
            "bins": [asdict(item) for item in self.bins],
            "ties": None if self.ties is None else self.ties.to_dict(),
        }

    def headline(self) -> dict[str, float]:
        """Return what a table shows: the temperature, the numbers before it, and ECE and NLL after it."""
        after = {f"{name} at that temperature": self.scaled[name] for name in ("ece", "nll")}
        return {"temperature": self.temperature, **self.raw, **after}

    def contract_fields(self) -> dict[str, Any]:
        """Return what belongs into the checkpoint's scoring contract: `temperature`, `tie_model`, `tie_threshold`.

        Where ties were fitted all three are of that one fit. Else the temperature is that of the preferences, and the
        others are None: the threshold of training, where there is one, holds.

        Raises:
            DataError: no temperature fits: there are no judgements, all are right, or the scorer is no better than
                chance.
        """
        fit = None if self.ties is None else self.ties.fit
        temperature = self.temperature if fit is None else fit.temperature.value
        if not math.isfinite(temperature):
            raise DataError("no temperature could be fitted: no judgement prefers a side, or every reward ties")
        lower, upper = map(math.exp, LOG_TEMPERATURE)
        if not 1.01 * lower < temperature < upper / 1.01:
            why = "every judgement is right" if temperature < 1 else "the rewards are no better than chance"
            raise DataError(f"no temperature fits {self.n_fit} judgements: {why}; evaluate on more or other data")
        ties = (None, None) if fit is None else (fit.model, fit.threshold.value)
        return {"temperature": temperature, "tie_model": ties[0], "tie_threshold": ties[1]}


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value


def measure_calibration(
    fit: Sequence[tuple[float, float]], held: Sequence[tuple[float, float]], clusters: Sequence[str], how: Resampling
) -> Calibration:
    """Fit a temperature on one half of the judgements and measure calibration on the other.

    Args:
        fit: margin of each judgement that prefers a side, and the share of raters who do.
        held: the same of the other half; `clusters` are its prompts.
    """
    margins_fit, shares_fit = np.array(fit).reshape(-1, 2).T
    margins_held, shares_held = np.array(held).reshape(-1, 2).T
    temperature = fit_temperature(margins_fit, shares_fit)
    nll, brier = log_losses(margins_held, shares_held), pair_brier(*confidence_and_credit(margins_held, shares_held))
    return Calibration(
        temperature,
        len(fit),
        calibration_numbers(margins_held, shares=shares_held),
        calibration_numbers(margins_held / temperature, shares=shares_held),
        bootstrap_amount(nll, clusters, how.resamples, how.seed),
        bootstrap_amount(brier, clusters, how.resamples, how.seed),
        reliability_bins(margins_held, shares=shares_held),
    )


HISTOGRAM_BINS = 24


def margin_histogram(values: np.ndarray, num_bins: int = HISTOGRAM_BINS) -> dict[str, Any]:
    """Return counts of margins between the 1st and 99th percentile, and how many lie outside.

    Zero is always an edge, so that no bar mixes right and wrong.
    """
    n = len(values)
    if n == 0:
        return {"n": 0, "edges": [], "counts": [], "below": 0, "above": 0, "ties": 0, "wrong": 0}
    low, high = np.quantile(values, [0.01, 0.99])
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / num_bins or 1.0
    edges = np.arange(math.floor(low / step), math.ceil(high / step) + 1) * step
    if len(edges) < 2:
        edges = np.array([-step, 0.0, step])
    inside = (values >= edges[0]) & (values <= edges[-1])
    return {
        "n": n,
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in np.histogram(values[inside], edges)[0]],
        "below": int((values < edges[0]).sum()),
        "above": int((values > edges[-1]).sum()),
        "ties": int((values == 0).sum()),
        "wrong": int((values < 0).sum()),
    }
