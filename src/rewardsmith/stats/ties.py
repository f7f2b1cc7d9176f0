"""Temperature and tie threshold of held-out judgements, fitted together.

A judgement is a lead `d = r_better - r_worse` and the shares of raters who said "better", "worse" and "tie". With
`a = 1 / T` and the threshold of Rao and Kupper or of Davidson (`objectives/tie_models.py`, where the formulas are with
their sources) the negative log likelihood is convex in both numbers together: Davidson's is a multinomial logit,
Rao and Kupper's an ordered one (Pratt 1981, JASA 76:103). Newton's steps with exact gradient and Hessian find its only
minimum. There is none where the data hold no tie or nothing else, or where rewards tell every judgement apart; that is
known before the fit, and said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import CHUNK_CELLS, Floats, Resampling

# Fits of resampled prompts: each is a fit anew.
MOST_RESAMPLES = 400
MOST_STEPS = 100
SMALL_STEP = 1e-9
# Where a resample has no optimum its numbers run away; they stop here, far outside of any interval that is read.
FARTHEST = 1000.0


@dataclass(frozen=True, slots=True)
class Judged:
    """P judgements: leads (P,), shares (P, 3) of better, worse and tie that add up to 1, and prompts (P,)."""

    leads: Floats
    shares: Floats
    prompts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[float, tuple[float, float, float], str]]) -> Judged:
        """Return the rows (lead, shares, prompt) as columns."""
        leads = np.array([row[0] for row in rows], dtype=np.float64)
        shares = np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 3)
        return cls(leads, shares, np.array([row[2] for row in rows], dtype=object))

    def __len__(self) -> int:
        return len(self.leads)

    @property
    def tie_share(self) -> float:
        """The share of ties; NaN without judgements."""
        return float(self.shares[:, 2].mean()) if len(self) else math.nan


def davidson_logs(leads: Floats, threshold: Floats | float) -> tuple[Floats, Floats, Floats]:
    """Return the logarithms of P(better), P(worse) and P(tie) with `threshold = log nu`; arrays broadcast."""
    half = leads / 2
    total = np.logaddexp(np.abs(half) + np.log1p(np.exp(-2 * np.abs(half))), threshold)
    return half - total, -half - total, threshold - total


def rao_kupper_logs(leads: Floats, threshold: Floats | float) -> tuple[Floats, Floats, Floats]:
    """Return the logarithms of P(better), P(worse) and P(tie) with `threshold` = t > 0; arrays broadcast."""
    better, worse = log_expit(leads - threshold), log_expit(-leads - threshold)
    return better, worse, 2 * threshold + np.log(-np.expm1(-2 * threshold)) + better + worse


def _davidson_slopes(leads: Floats, shares: Floats, threshold: Floats) -> tuple[Floats, ...]:
    """Return derivatives of a judgement's loss: by lead, by threshold; then second ones (lead, both, threshold)."""
    better, worse, tie = (np.exp(log) for log in davidson_logs(leads, threshold))
    gap = better - worse
    return (
        -(shares[:, 0] - shares[:, 1] - gap) / 2,
        tie - shares[:, 2],
        (better + worse - gap**2) / 4,
        -gap * tie / 2,
        tie * (1 - tie),
    )


def _rao_kupper_slopes(leads: Floats, shares: Floats, threshold: Floats) -> tuple[Floats, ...]:
    up, down = shares[:, 0] + shares[:, 2], shares[:, 1] + shares[:, 2]
    win, loss = expit(leads - threshold), expit(-leads - threshold)
    gain = -np.expm1(-2 * threshold)
    bend_up, bend_down = up * win * (1 - win), down * loss * (1 - loss)
    return (
        down * (1 - loss) - up * (1 - win),
        up * (1 - win) + down * (1 - loss) - shares[:, 2] * 2 / gain,
        bend_up + bend_down,
        bend_down - bend_up,
        bend_up + bend_down + shares[:, 2] * 4 * (1 - gain) / gain**2,
    )


@dataclass(frozen=True, slots=True)
class TieModel:
    """One model of ties: its logarithms, its slopes, and where the threshold of a share of ties starts."""

    logs: Callable[[Floats, Any], tuple[Floats, Floats, Floats]]
    slopes: Callable[[Floats, Floats, Floats], tuple[Floats, ...]]
    start: Callable[[float], float]
    is_positive: bool


TIE_MODELS = {
    "davidson": TieModel(davidson_logs, _davidson_slopes, lambda share: math.log(2 * share / (1 - share)), False),
    "rao_kupper": TieModel(
        rao_kupper_logs, _rao_kupper_slopes, lambda share: math.log((1 + share) / (1 - share)), True
    ),
}


@dataclass(frozen=True, slots=True)
class TieFit:
    """Temperature and threshold of one model of ties, with their intervals over prompts, and the mean log loss."""

    model: str
    temperature: Estimate
    threshold: Estimate
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "temperature": self.temperature.to_dict(),
            "threshold": self.threshold.to_dict(),
            "loss": self.loss,
        }


def why_no_fit(data: Judged) -> str | None:
    """Return why temperature and threshold have no finite optimum; None where they have one, and then only one.

    A direction in which no judgement's loss ever rises exists exactly where every tie has a smaller lead, whatever its
    sign, than every preference has in its own direction.
    """
    n = len(data)
    if not n:
        return "there is no judgement"
    better, worse, tie = (data.shares > 0).T
    if not tie.any():
        return f"none of {n} judgements is a tie"
    if not (better | worse).any():
        return f"all of {n} judgements are ties"
    if not data.leads.any():
        return f"all rewards of {n} judgements are equal"
    decided = np.concatenate([data.leads[better], -data.leads[worse]])
    widest = float(np.abs(data.leads[tie]).max())
    if decided.min() >= widest:
        return f"the rewards tell all of {n} judgements apart, ties from preferences too"
    if -decided.max() >= widest:
        return f"the rewards have all preferences of {n} judgements the wrong way round"
    return None


def fit_ties(data: Judged, model: str, how: Resampling | None = None) -> TieFit | None:
    """Return temperature and threshold of the highest likelihood; None where the rewards are no better than chance.

    The intervals are percentiles over resampled prompts, each fitted anew; without `how`, or with one prompt, there are
    none. `why_no_fit` must have found nothing.
    """
    kind, n = TIE_MODELS[model], len(data)
    unit = float(np.sqrt((data.leads**2).mean()))
    leads = data.leads / unit
    start = np.array([[1.0, kind.start(min(max(data.tie_share, 1e-3), 0.999))]])
    [[slope, threshold]] = _minimise(kind, leads, data.shares, np.ones((1, n)), start)
    if not slope > 0:
        return None
    best = np.array([[slope, threshold]])
    loss = float(_loss(kind, leads, data.shares, np.ones((1, n)), best)[0]) / n
    low_high = np.full((2, 2), math.nan)
    clusters = np.unique(data.prompts, return_inverse=True)[1]
    if how is not None and (count := int(clusters.max()) + 1) > 1:
        drawn = _drawn(clusters, count, how)
        rows = max(1, CHUNK_CELLS // n)
        parts = [drawn[at : at + rows] for at in range(0, len(drawn), rows)]
        fitted = np.concatenate([_minimise(kind, leads, data.shares, part[:, clusters], best) for part in parts])
        low_high = np.quantile(fitted, [0.025, 0.975], axis=0)
    (low, from_), (high, to) = low_high
    # A slope at or below 0 has no temperature: the interval is open above.
    ends = [unit / end if end > 0 else math.inf if end == end else math.nan for end in (high, low)]
    temperature = Estimate(float(unit / slope), n, *map(float, ends))
    return TieFit(model, temperature, Estimate(float(threshold), n, float(from_), float(to)), loss)


def fit_better(data: Judged, model: str | None, how: Resampling | None = None) -> TieFit | None:
    """Fit one model of ties, or where `model` is None the one whose likelihood on these judgements is higher."""
    if model is None:
        fits = [found for name in TIE_MODELS if (found := fit_ties(data, name)) is not None]
        if not fits:
            return None
        model = min(fits, key=lambda one: one.loss).model
    return fit_ties(data, model, how)


def _loss(kind: TieModel, leads: Floats, shares: Floats, weights: Floats, at: Floats) -> Floats:
    """Return the summed loss of R weightings. Shapes: weights (R, P), at (R, 2) -> (R,)."""
    logs = kind.logs(at[:, :1] * leads, at[:, 1:])
    losses: Floats = -np.einsum("rp,krp,pk->r", weights, np.stack(logs), shares)
    return losses


def _minimise(kind: TieModel, leads: Floats, shares: Floats, weights: Floats, start: Floats) -> Floats:
    """Return slope and threshold of R weightings at once, by Newton's steps that are halved until the loss falls.

    Shapes: leads (P,), shares (P, 3), weights (R, P), start (1, 2) -> (R, 2).
    """
    at = np.repeat(start, len(weights), axis=0)
    loss = _loss(kind, leads, shares, weights, at)
    is_open = np.ones(len(at), dtype=bool)
    for _ in range(MOST_STEPS):
        rows = np.flatnonzero(is_open)
        if not len(rows):
            break
        step = _newton_step(kind, leads, shares, weights[rows], at[rows])
        reached = np.clip(at[rows] + step, -FARTHEST, FARTHEST)
        found = _loss_within(kind, leads, shares, weights[rows], reached)
        for _ in range(MOST_STEPS):
            worse = found > loss[rows] + 1e-12 * np.abs(loss[rows])
            if not worse.any():
                break
            reached[worse] = (reached[worse] + at[rows][worse]) / 2
            found[worse] = _loss_within(kind, leads, shares, weights[rows][worse], reached[worse])
        moved = np.abs(reached - at[rows]).max(axis=1)
        at[rows], loss[rows] = reached, found
        is_open[rows] = moved > SMALL_STEP
    return at


def _loss_within(kind: TieModel, leads: Floats, shares: Floats, weights: Floats, at: Floats) -> Floats:
    """Return the loss, infinite for a threshold that the model cannot have."""
    outside = kind.is_positive & (at[:, 1] <= 0)
    inside = np.where(outside[:, None], 1.0, at)
    return np.where(outside, math.inf, _loss(kind, leads, shares, weights, inside))


def _newton_step(kind: TieModel, leads: Floats, shares: Floats, weights: Floats, at: Floats) -> Floats:
    by_lead, by_threshold, lead2, both, threshold2 = kind.slopes(at[:, :1] * leads, shares, at[:, 1:])
    g0, g1 = (weights * by_lead * leads).sum(axis=1), (weights * by_threshold).sum(axis=1)
    h00 = (weights * lead2 * leads**2).sum(axis=1) + 1e-12
    h01, h11 = (weights * both * leads).sum(axis=1), (weights * threshold2).sum(axis=1) + 1e-12
    determinant = np.maximum(h00 * h11 - h01**2, 1e-300)
    return -np.stack([(h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant], axis=1)


def _drawn(clusters: np.ndarray, count: int, how: Resampling) -> Floats:
    """Return how often each prompt is drawn. Shapes: -> (R, prompts)."""
    generator = np.random.default_rng(how.seed)
    return generator.multinomial(count, np.full(count, 1 / count), size=min(how.resamples, MOST_RESAMPLES)).astype(
        float
    )
