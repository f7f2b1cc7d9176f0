"""The temperature that is fitted on half of the prompts, and calibration on the other half."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, preferences, prompt_key
from rewardsmith.stats.calibration import (
    LOG_TEMPERATURE,
    Bin,
    calibration_numbers,
    confidence_and_credit,
    fit_temperature,
    log_losses,
    pair_brier,
    reliability_bins,
)
from rewardsmith.stats.intervals import Resampling, bootstrap_amount


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
    """

    temperature: float
    n_fit: int
    raw: dict[str, float]
    scaled: dict[str, float]
    nll: Estimate
    brier: Estimate
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, None for NaN."""
        return {
            "temperature": _none(self.temperature),
            "n_fit": self.n_fit,
            "raw": {name: _none(value) for name, value in self.raw.items()},
            "scaled": {name: _none(value) for name, value in self.scaled.items()},
            "nll": self.nll.to_dict(),
            "brier": self.brier.to_dict(),
            "bins": [asdict(item) for item in self.bins],
        }

    def headline(self) -> dict[str, float]:
        """Give what a table shows: the temperature, the numbers before it, and ECE and NLL after it."""
        after = {f"{name} at that temperature": self.scaled[name] for name in ("ece", "nll")}
        return {"temperature": self.temperature, **self.raw, **after}

    def contract_fields(self) -> dict[str, float]:
        """Give what belongs into the checkpoint's scoring contract: `temperature`.

        Raises:
            DataError: no temperature fits: there are no judgements, all are right, or the scorer is no better than
                chance.
        """
        if not math.isfinite(self.temperature):
            raise DataError("no temperature could be fitted: no judgement prefers a side, or every reward ties")
        lower, upper = map(math.exp, LOG_TEMPERATURE)
        if not 1.01 * lower < self.temperature < upper / 1.01:
            why = "every judgement is right" if self.temperature < 1 else "the rewards are no better than chance"
            raise DataError(f"no temperature fits {self.n_fit} judgements: {why}; evaluate on more or other data")
        return {"temperature": self.temperature}


def calibrate(scored: Sequence[ScoredGroup], how: Resampling | None = None) -> Calibration:
    """Fit a temperature on half of the prompts and measure calibration on the other half."""
    how = how or Resampling()
    fit: list[tuple[float, float]] = []
    held: list[tuple[float, float]] = []
    clusters: list[str] = []
    for index, item in enumerate(scored):
        key = prompt_key(item.group) or f"\x00empty {index}"
        values = _outcomes(item)
        if _in_first_half(key):
            fit += values
        else:
            held += values
            clusters += [key] * len(values)
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


def _outcomes(item: ScoredGroup) -> list[tuple[float, float]]:
    """Give the margin of every judgement that prefers a side, and the share of raters who do."""
    rewards = item.rewards
    return [(rewards[one.better] - rewards[one.worse], one.probability) for one in preferences(item.group)]


def _in_first_half(key: str) -> bool:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[0] < 128


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
