"""Logistics of judgements on differences of reward and length, with a bootstrap that refits by one Newton step.

A full refit for each of 10,000 samples would cost 10,000 times as much. One step of Newton's method from the estimate
of all data, with the gradient and curvature of the sample, agrees with it to first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rewardsmith.audit.moments import ClusteredSums, Statistic, Totals
from rewardsmith.stats.intervals import Floats

# Keeps perfectly separated judgements from growing without end; a prior of less than one pair.
RIDGE = 1e-3
NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class LogisticScale:
    """What turns standardised coefficients back into reward units.

    Args:
        reward: root mean square of reward differences; `length` of length differences.
        linear: coefficients of (reward, length); `bent` of (reward, tanh of length).
        slope: reward difference per unit of the bent length.
    """

    reward: float
    length: float
    linear: tuple[float, float]
    bent: tuple[float, float]
    slope: float


def add_logistics(sums: ClusteredSums, pairs: Floats) -> LogisticScale:
    """Fit both logistics and add what their one-step refits need. Pairs: cluster, margin, lengths of both sides."""
    cluster, gap = pairs[:, 0], pairs[:, 2] - pairs[:, 3]
    scale_r, scale_l = (float(np.sqrt((c**2).mean())) if len(c) and c.any() else 1.0 for c in (pairs[:, 1], gap))
    reward, length = pairs[:, 1] / scale_r, gap / scale_l
    bent_length = np.tanh(length)
    linear = _add_fit(sums, "lin", cluster, np.stack([reward, length], axis=1))
    bent = _add_fit(sums, "bent", cluster, np.stack([reward, bent_length], axis=1))
    sums.add(cluster, t_rt=reward * bent_length, t_tt=bent_length**2)
    squares = float((bent_length**2).sum())
    slope = float((reward * bent_length).sum()) / squares if squares > 0 else 0.0
    rest = reward - slope * bent_length
    chance = expit(bent[0] * np.abs(rest))
    steep = chance * (1 - chance)
    sums.add(cluster, c=chance, c_beta=steep * np.abs(rest), c_slope=-steep * bent[0] * np.sign(rest) * bent_length)
    return LogisticScale(scale_r, scale_l, linear, bent, slope)


def logistic_statistics(scale: LogisticScale, n: int) -> dict[str, Statistic]:
    """Give the excess weight, the coefficient of the reward, and the length-controlled accuracy."""
    unit = scale.reward / scale.length

    def excess(totals: Totals) -> Floats:
        beta, gamma = _refit(totals, "lin", scale.linear)
        return -gamma / beta * unit

    def controlled(totals: Totals) -> Floats:
        beta, _ = _refit(totals, "bent", scale.bent)
        slope = np.where(totals["t_tt"] > 0, totals["t_rt"] / totals["t_tt"], 0.0)
        shift = (beta - scale.bent[0]) * totals["c_beta"] + (slope - scale.slope) * totals["c_slope"]
        return (totals["c"] + shift) / totals["n_all"]

    return {
        "excess_weight": Statistic(excess, n),
        "reward_coefficient": Statistic(lambda totals: _refit(totals, "lin", scale.linear)[0] / scale.reward, n),
        "length_controlled_accuracy": Statistic(controlled, n),
    }


def _add_fit(sums: ClusteredSums, name: str, cluster: Floats, x_P2: Floats) -> tuple[float, float]:
    """Maximise the mean of log sigmoid(x . theta) and add gradient and curvature at the maximum."""
    theta = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        wrong = expit(-(x_P2 @ theta))
        gradient = x_P2.T @ wrong - RIDGE * theta
        curvature = (x_P2 * (wrong * (1 - wrong))[:, None]).T @ x_P2 + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # A long step overshoots where the curvature is flat.
        theta = theta + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-9:
            break
    wrong = expit(-(x_P2 @ theta))
    weight = wrong * (1 - wrong)
    first, second = x_P2[:, 0], x_P2[:, 1]
    columns = {"g0": wrong * first, "g1": wrong * second}
    columns |= {"h00": weight * first**2, "h01": weight * first * second, "h11": weight * second**2}
    sums.add(cluster, **{f"{name}_{key}": column for key, column in columns.items()})
    return float(theta[0]), float(theta[1])


def _refit(totals: Totals, name: str, theta: tuple[float, float]) -> tuple[Floats, Floats]:
    """Give the coefficients after one Newton step from `theta` on each sample."""
    g0, g1 = totals[f"{name}_g0"] - RIDGE * theta[0], totals[f"{name}_g1"] - RIDGE * theta[1]
    h00, h01, h11 = totals[f"{name}_h00"] + RIDGE, totals[f"{name}_h01"], totals[f"{name}_h11"] + RIDGE
    determinant = h00 * h11 - h01**2
    return theta[0] + (h11 * g0 - h01 * g1) / determinant, theta[1] + (h00 * g1 - h01 * g0) / determinant
