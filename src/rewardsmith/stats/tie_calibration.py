"""Whether P(tie) is what it says: measured on prompts that temperature and threshold were not fitted on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import log_expit

from rewardsmith.records import Estimate
from rewardsmith.stats.calibration import fit_temperature
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_amount, clustered_share
from rewardsmith.stats.ties import TIE_MODELS, Judged, TieFit, fit_better, why_no_fit

NUM_BINS = 10
# In smaller bins chance explains any gap.
MIN_BIN_SIZE = 25
AS_IT_IS, FITTED = "as_it_is", "fitted"
# Baselines: the shares of the three outcomes, and Bradley-Terry beside a constant share of ties.
SHARES, CONSTANT = "shares_alone", "ties_whatever_the_rewards"
WORDS = {
    AS_IT_IS: "as it is",
    FITTED: "fitted",
    SHARES: "shares of the outcomes alone",
    CONSTANT: "ties whatever the rewards",
}


@dataclass(frozen=True, slots=True)
class TieBin:
    """One bin of the reliability of P(tie): n judgements, the mean that was predicted, and the share of ties."""

    n: int
    predicted: float
    share: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"n": self.n, "predicted": self.predicted, "share": self.share.to_dict()}


@dataclass(frozen=True, slots=True)
class TieCalibration:
    """What was fitted on one half of the prompts, and what it is worth on the other.

    Args:
        fit: temperature and threshold; None where there are none, and `why` says why.
        chosen_by: "training" for the model of ties that the scorer was trained with, else "likelihood".
        share: of ties among the judgements of the other half.
        predicted: the mean P(tie) there: as_it_is (where the scorer knows ties) and fitted.
        losses: mean log loss of the three outcomes there, of those and of two baselines.
        gains: by how much the fitted loss lies below each of the others, paired.
        bins: the reliability of P(tie), as_it_is and fitted.
    """

    fit: TieFit | None
    why: str | None
    chosen_by: str
    n_fit: int
    share: Estimate
    predicted: Mapping[str, Estimate] = field(default_factory=dict)
    losses: Mapping[str, Estimate] = field(default_factory=dict)
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    bins: Mapping[str, tuple[TieBin, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "fit": None if self.fit is None else self.fit.to_dict(),
            "why_no_fit": self.why,
            "chosen_by": self.chosen_by,
            "n_fit": self.n_fit,
            "share": self.share.to_dict(),
            **{
                name: {k: v.to_dict() for k, v in getattr(self, name).items()}
                for name in ("predicted", "losses", "gains")
            },
            "bins": {name: [item.to_dict() for item in bins] for name, bins in self.bins.items()},
        }

    def headline(self) -> dict[str, Estimate]:
        """Return what a table shows: the fit, the share of ties beside the mean P(tie), and what the fit gains."""
        found = {"share of ties": self.share}
        found |= {f"mean P(tie), {WORDS[name]}": value for name, value in self.predicted.items()}
        found |= {f"log loss of the outcome, {WORDS[name]}": value for name, value in self.losses.items()}
        found |= {f"the fit gains over: {WORDS[name]}": value for name, value in self.gains.items()}
        if self.fit is not None:
            found[f"temperature, {self.fit.model}"] = self.fit.temperature
            found[f"threshold, {self.fit.model}"] = self.fit.threshold
        return found


def measure_ties(
    fit: Judged, held: Judged, model: str | None, as_it_is: Floats | None = None, how: Resampling | None = None
) -> TieCalibration:
    """Fit temperature and threshold on one half of the judgements and hold their P(tie) against the other.

    Args:
        model: of ties that the scorer was trained with; None takes the one of higher likelihood.
        as_it_is: probabilities of better, worse and tie that the scorer gives to `held` now, (P, 3); None for one that
            knows no ties.
    """
    how = how or Resampling()
    why = why_no_fit(fit)
    found = None if why else fit_better(fit, model, how)
    if why is None and found is None:
        why = f"the rewards of {len(fit)} judgements are no better than chance"
    chosen_by = "likelihood" if model is None else "training"
    share = clustered_share(held.shares[:, 2], held.prompts)
    result = TieCalibration(found, why, chosen_by, len(fit), share)
    logs: dict[str, Floats] = {}
    if as_it_is is not None:
        with np.errstate(divide="ignore"):
            logs[AS_IT_IS] = np.log(as_it_is)
    if found is not None:
        logs[FITTED] = fitted_logs(found, held.leads)
        logs |= _baselines(fit, held.leads)
    return _measured(result, held, logs, how)


def fitted_logs(fit: TieFit, leads: Floats) -> Floats:
    """Return the logarithms of P(better), P(worse) and P(tie). Shapes: leads (P,) -> (P, 3)."""
    logs = TIE_MODELS[fit.model].logs(leads / fit.temperature.value, fit.threshold.value)
    return np.stack(logs, axis=1)


def _baselines(fit: Judged, leads: Floats) -> dict[str, Floats]:
    tie, decided = math.log(fit.tie_share), math.log1p(-fit.tie_share)
    sides = fit.shares[:, :2].sum(axis=1)
    kept = sides > 0
    temperature = fit_temperature(fit.leads[kept], fit.shares[kept, 0] / sides[kept])
    wins = np.stack([log_expit(leads / temperature), log_expit(-leads / temperature)], axis=1)
    ties = np.full((len(leads), 1), tie)
    return {
        SHARES: np.concatenate([np.full_like(wins, decided - math.log(2)), ties], axis=1),
        CONSTANT: np.concatenate([wins + decided, ties], axis=1),
    }


def _measured(result: TieCalibration, held: Judged, logs: Mapping[str, Floats], how: Resampling) -> TieCalibration:
    def amount(values: Floats) -> Estimate:
        return bootstrap_amount(values, held.prompts, how.resamples, how.seed)

    # A share of 0 times a logarithm of -inf is nothing.
    losses = {name: -np.where(held.shares > 0, held.shares * log, 0.0).sum(axis=1) for name, log in logs.items()}
    own = {name: np.exp(logs[name][:, 2]) for name in (AS_IT_IS, FITTED) if name in logs}
    others = [name for name in losses if name != FITTED] if FITTED in losses else []
    return replace(
        result,
        predicted={name: amount(values) for name, values in own.items()},
        losses={name: amount(values) for name, values in losses.items()},
        gains={name: amount(losses[name] - losses[FITTED]) for name in others},
        bins={name: tie_bins(values, held) for name, values in own.items()},
    )


def tie_bins(predicted: Floats, held: Judged) -> tuple[TieBin, ...]:
    """Return the reliability of P(tie) over bins of equal mass."""
    count = min(NUM_BINS, max(1, len(held) // MIN_BIN_SIZE))
    parts = [part for part in np.array_split(np.argsort(predicted, kind="stable"), count) if len(part)]
    return tuple(
        TieBin(len(part), float(predicted[part].mean()), clustered_share(held.shares[part, 2], held.prompts[part]))
        for part in parts
    )
