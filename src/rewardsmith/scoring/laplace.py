"""How sure a trained head is: a Laplace approximation of the last layer, from the judgements it was trained on.

The loss of Bradley-Terry has the Hessian `H = sum_p w_p s_p (1 - s_p) d_p d_p^T + tau I` in the weights of a linear
head, d_p the difference of the two answers' features and s_p = sigmoid(r_a - r_b); it does not depend on the label. The
weights are then normal around those that were trained, with covariance `H^-1` (MacKay 1992; Daxberger et al. 2021,
arXiv 2106.14806, for the last layer after training; Yang et al. 2024, arXiv 2402.13210, for reward models).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.models import wide_head
from rewardsmith.models.contract import hash_reward_files
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.objectives.comparisons import comparisons_of_groups
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.stats.calibration import log_losses

GROUPS_AT_ONCE = 64
# Of the prior precision that held-out judgements choose from.
PRECISIONS = tuple(10.0**power for power in np.arange(-3.0, 5.01, 0.5))
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class LaplaceFit:
    """A normal distribution over the weights of a head.

    Args:
        prior_precision: tau, the inverse variance of the prior of each weight.
        effective: how many directions the judgements determine, the sum of l / (l + tau) over eigenvalues l.
        comparisons: how many judgements it rests on.
        centre: mean features of the answers, from which an answer's deviation is measured. Shapes: [D].
        factor: a root of the covariance. Shapes: [D, D].
        chosen_by: what chose the prior precision.
    """

    prior_precision: float
    effective: float
    comparisons: int
    centre: Matrix
    factor: Matrix
    chosen_by: str


@dataclass(frozen=True)
class Curvature:
    """What judgements say of a head. Shapes: hessian [D, D] without the prior, centre and weight [D]."""

    hessian: Matrix
    centre: Matrix
    weight: Matrix
    comparisons: int


def fit_laplace(
    folder: str | Path,
    data: object,
    *,
    held_out: object = None,
    prior_precision: float | None = None,
    save: bool = True,
    device: str | None = None,
    tokens_per_batch: int | None = None,
    truncation: str | None = None,
    limit: int | None = None,
) -> LaplaceFit:
    """Fit the distribution of a saved model's head and store it in the folder, where every command finds it.

    Args:
        folder: a model with a contract and one head.
        data: the judgements that it was trained on; what `load_preferences` takes.
        held_out: other judgements, whose log loss chooses the prior precision; None takes the marginal likelihood.
        prior_precision: a given one.
        save: write it into the folder.
        device: by default a GPU where there is one.
        tokens_per_batch, truncation: as of `RewardModel.from_pretrained`.
        limit: read at most so many groups of each.

    Raises:
        ConfigError: no contract, an ensemble, or a head that is no linear layer.
        DataError: no judgement.
    """
    model = RewardModel.from_pretrained(
        str(folder), device=device, dtype="float32", tokens_per_batch=tokens_per_batch, truncation=truncation
    )
    if not isinstance(model, RewardModel) or model.contract is None or wide_head.num_heads(model.model) > 1:
        raise ConfigError(f"{folder} must hold one model with one head and a contract; an ensemble has its spread")
    curvature = measure_curvature(model, list(load_preferences(data, limit=limit)))
    chosen_by = "given"
    if prior_precision is None and held_out is not None:
        groups = list(load_preferences(held_out, limit=limit))
        prior_precision, chosen_by = _by_held_out(model, curvature, groups), "held-out log loss"
    elif prior_precision is None:
        prior_precision, chosen_by = by_marginal_likelihood(curvature), "marginal likelihood"
    fit = with_prior(curvature, prior_precision, chosen_by)
    if save:
        _store(Path(folder), model, fit, curvature)
    return fit


def measure_curvature(model: RewardModel, groups: Sequence[PreferenceGroup]) -> Curvature:
    """Add the Hessian over the comparisons of all groups. Raises DataError when there is none."""
    hessian: Matrix = np.zeros((0, 0))
    total, texts, count = np.zeros(0), 0, 0
    for features_BD, rewards_B, part in _features(model, groups):
        if not len(hessian):
            width = features_BD.shape[1]
            hessian, total = np.zeros((width, width)), np.zeros(width)
        comparisons = comparisons_of_groups(part)
        better, worse = comparisons.better_P.numpy(), comparisons.worse_P.numpy()
        difference_PD = features_BD[better] - features_BD[worse]
        share_P = expit(rewards_B[better] - rewards_B[worse])
        weight_P = comparisons.weight_P.double().numpy() * share_P * (1 - share_P)
        hessian += difference_PD.T @ (weight_P[:, None] * difference_PD)
        total, texts, count = total + features_BD.sum(0), texts + len(features_BD), count + len(better)
    if not count:
        raise DataError("no comparison to measure the head by; give the judgements that it was trained on")
    _, _, layer = wide_head.linear_head(core_model(model.model))
    weight = layer.weight.detach().double().cpu().numpy()[0]
    return Curvature(hessian, total / texts, weight, count)


def by_marginal_likelihood(curvature: Curvature) -> float:
    """Return the prior precision with the largest marginal likelihood, by MacKay's (1992) fixed point.

    The evidence `-tau |w|^2 / 2 + D/2 log tau - 1/2 log det(H + tau I)` is stationary where tau |w|^2 = sum l / (l +
    tau), l the eigenvalues of H.
    """
    eigenvalues = np.clip(np.linalg.eigvalsh(curvature.hessian), 0.0, None)
    square = float(curvature.weight @ curvature.weight)
    if square == 0:
        raise ConfigError("the head's weights are all 0, so no prior precision fits them; give one")
    tau = 1.0
    for _ in range(1000):
        following = max(float((eigenvalues / (eigenvalues + tau)).sum()) / square, 1e-8)
        if abs(following - tau) <= 1e-9 * tau:
            break
        tau = following
    return tau


def with_prior(curvature: Curvature, prior_precision: float, chosen_by: str = "given") -> LaplaceFit:
    """Return the distribution under a prior. Raises ConfigError for a precision that is not above 0."""
    if not prior_precision > 0:
        raise ConfigError(f"prior_precision must be above 0, not {prior_precision:g}")
    eigenvalues, vectors = np.linalg.eigh(curvature.hessian)
    eigenvalues = np.clip(eigenvalues, 0.0, None)
    factor = vectors / np.sqrt(eigenvalues + prior_precision)
    effective = float((eigenvalues / (eigenvalues + prior_precision)).sum())
    return LaplaceFit(prior_precision, effective, curvature.comparisons, curvature.centre, factor, chosen_by)


def _features(
    model: RewardModel, groups: Sequence[PreferenceGroup]
) -> Iterator[tuple[Matrix, Matrix, list[PreferenceGroup]]]:
    """Yield features [B, D] and rewards [B] of some groups at a time."""
    core = core_model(model.model)
    _, _, layer = wide_head.linear_head(core)
    wide_head.collapse(core)
    wide_head.install_laplace(core, torch.zeros(layer.in_features), torch.eye(layer.in_features))
    try:
        for start in range(0, len(groups), GROUPS_AT_ONCE):
            part = list(groups[start : start + GROUPS_AT_ONCE])
            columns = np.array(
                [text for row in model.read_columns([ScoreRequest.of_group(g) for g in part]) for text in row]
            )
            yield columns[:, 1:], columns[:, 0], part
    finally:
        wide_head.collapse(core)


def _by_held_out(model: RewardModel, curvature: Curvature, groups: Sequence[PreferenceGroup]) -> float:
    """Return the prior precision with the lowest log loss of held-out judgements that prefer a side."""
    differences, margins, shares = [], [], []
    for features_BD, rewards_B, part in _features(model, groups):
        judged = comparisons_of_groups(part).judged()
        judged = judged.select(~judged.is_tie_P)
        better, worse = judged.better_P.numpy(), judged.worse_P.numpy()
        differences.append(features_BD[better] - features_BD[worse])
        margins.append(rewards_B[better] - rewards_B[worse])
        shares.append(judged.probability_P.double().numpy())
    if not sum(map(len, margins)):
        raise DataError("no held-out judgement prefers a side; leave held_out out, or give others")
    difference_PD, margin_P, share_P = (np.concatenate(parts) for parts in (differences, margins, shares))

    def loss(precision: float) -> float:
        deviation_P = np.linalg.norm(difference_PD @ with_prior(curvature, precision).factor, axis=1)
        return float(log_losses(margin_P / np.sqrt(1 + math.pi * deviation_P**2 / 8), share_P).mean())

    return min(PRECISIONS, key=loss)


def _store(folder: Path, model: RewardModel, fit: LaplaceFit, curvature: Curvature) -> None:
    """Write the distribution beside the weights, and its hash into the contract."""
    np.savez(
        folder / wide_head.LAPLACE_FILE,
        centre=fit.centre.astype(np.float32),
        factor=fit.factor.astype(np.float32),
        weight=curvature.weight.astype(np.float32),
        prior_precision=fit.prior_precision,
        comparisons=fit.comparisons,
    )
    contract = model.contract.model_copy(update={"files": hash_reward_files(folder)})
    contract.save(folder)
