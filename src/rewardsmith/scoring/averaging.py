"""One model from several: the mean of their weights, brought back to the scale on which margins are log odds.

Models that were fine-tuned from one base lie in one basin, and the mean of their weights is as accurate as their
ensemble at the cost of one (Rame et al. 2024, "WARM", arXiv 2401.12187, eq. 3). Averaging shrinks margins, so
held-out judgements set the scale of the head anew, and with ties among them the threshold of ties too; without them it
is the mean of the thresholds that training has learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError
from rewardsmith.models import wide_head
from rewardsmith.models.checkpoint import LoadedModel, load_reward_model, save_reward_model
from rewardsmith.models.contract import ScoringContract, template_hash
from rewardsmith.models.foreign.folder import local_folder, member_folders
from rewardsmith.models.golden import require_golden
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.objectives.comparisons import comparisons_of_groups
from rewardsmith.records import PreferenceGroup, ScoreRequest, judgements
from rewardsmith.scoring.exporting import KEPT
from rewardsmith.scoring.outcomes import learned_ties
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.stats.calibration import fit_temperature
from rewardsmith.stats.ties import Judged, TieFit, fit_ties, why_no_fit

# The cosine of the backbones' weights: near 1 for models that were fine-tuned from one base, near 0 for two bases.
LEAST_COSINE = 0.8
GROUPS_FOR_SCALE = 512
# Of a contract: what belongs to one member's rewards, and not to those of the mean.
SET_ANEW = ("temperature", "tie_model", "tie_threshold", "objective")


@dataclass(frozen=True)
class Averaged:
    """A model whose weights are a mean.

    Args:
        folder: where it lies.
        members: how many models it is of.
        cosine: the lowest cosine of a member's backbone with the first one's.
        scale: what the head was multiplied by; 1 without held-out judgements.
        ties: what became of the members' thresholds of ties, in words; empty where none had one.
    """

    folder: Path
    members: int
    cosine: float
    scale: float
    ties: str = ""


def average_models(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    held_out: object = None,
    verify: bool = True,
    trust_remote_code: bool = False,
) -> Averaged:
    """Average the weights of models that were fine-tuned from one base, and save the mean with a contract of its own.

    Args:
        folders: two or more full models with contracts, or an ensemble of such models; merge adapters first.
        out: an empty or new folder.
        held_out: judgements that none was trained on, which set the scale (and the contract's mean and deviation).
        verify: load the result in a fresh process and compare its golden rewards.

    Raises:
        ConfigError: fewer than two, another architecture, tokenizer, template, base or model of ties, or a folder that
            is taken.
    """
    out = Path(out)
    folders = [member for folder in folders for member in member_folders(local_folder(str(folder)))]
    if len(folders) < 2:
        raise ConfigError(f"averaging needs two or more models, not {len(folders)}")
    places = [Path(folder).resolve() for folder in folders]
    twice = next((str(folder) for folder, place in zip(folders, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice and would count twice; name each model once")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; name a new folder")
    first = _load(folders[0], trust_remote_code)
    core = core_model(first.model)
    begun = {name: value.clone() for name, value in _weights(core).items()}
    total = {name: value.double() for name, value in begun.items()}
    lowest = 1.0
    contracts = [first.contract]
    for folder in folders[1:]:
        other = _load(folder, trust_remote_code)
        contracts.append(other.contract)
        _require_one_tie_model(folders, contracts)
        _require_alike(str(folders[0]), first, str(folder), other)
        weights = _weights(core_model(other.model))
        lowest = min(lowest, _require_one_base(str(folders[0]), begun, str(folder), weights))
        for name in total:
            total[name] += weights[name]
    with torch.no_grad():
        for name, value in core.state_dict().items():
            if name in total:
                value.copy_(total[name] / len(folders))
    learned = [learned_ties(contract) for contract in contracts]
    own = learned[0][0] if all(learned) and learned[0] else None
    scale, fields = _rescale(first, str(out), held_out, own)
    assert first.contract is not None
    kept = {name: getattr(first.contract, name) for name in KEPT if name not in SET_ANEW}
    objective = {"averaged": [Path(folder).name for folder in folders], "scale": scale}
    if own is not None:
        objective |= {"loss_type": own, "threshold": math.fsum(ties[1] for ties in learned if ties) / len(learned)}
    plan = prepare_model(core)
    save_reward_model(core, first.tokenizer, out, plan, verify=verify, **{**kept, **fields, "objective": objective})
    return Averaged(out, len(folders), lowest, scale, _told(contracts, objective, fields))


def _told(contracts: Sequence[ScoringContract | None], objective: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """Say what became of thresholds of ties."""
    if (name := fields.get("tie_model")) is not None:
        return f"threshold of {name} {fields['tie_threshold']:.4g}, fitted with the scale on the held-out judgements"
    if "threshold" in objective:
        told = f"threshold of {objective['loss_type']} {objective['threshold']:.4g}, the mean of what training learned"
        return f"{told}; fit it on held-out judgements with ties: rewardsmith evaluate --save-temperature"
    if any(contract and (contract.tie_model or learned_ties(contract)) for contract in contracts):
        return "no threshold of ties, which not all members learned in training; rewardsmith evaluate fits one"
    return ""


def _require_one_tie_model(folders: Sequence[str | Path], contracts: Sequence[ScoringContract | None]) -> None:
    """Refuse a member that was trained with another model of ties than an earlier one. Raises ConfigError."""
    named = [(folder, ties[0]) for folder, one in zip(folders, contracts, strict=False) if (ties := learned_ties(one))]
    if named and named[-1][1] != named[0][1]:
        raise ConfigError(
            f"{named[-1][0]} was trained with {named[-1][1]} and {named[0][0]} with {named[0][1]}: their thresholds "
            "have no mean; average models of one loss_type"
        )


def _load(folder: str | Path, trust_remote_code: bool) -> LoadedModel:
    loaded = load_reward_model(folder, trust_remote_code=trust_remote_code, dtype="float32")
    if loaded.contract is None:
        raise ConfigError(f"{folder} has no scoring contract; write one with rewardsmith export")
    if hasattr(loaded.model, "peft_config"):
        raise ConfigError(f"{folder} is an adapter, whose factors cannot be averaged; merge it: rewardsmith export")
    require_golden(loaded, str(folder))
    wide_head.collapse(core_model(loaded.model))
    return loaded


def _weights(core: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in core.state_dict().items() if value.is_floating_point()}


def _require_alike(first_name: str, first: LoadedModel, name: str, other: LoadedModel) -> None:
    """Refuse a model that reads or computes otherwise. Raises ConfigError naming what differs."""
    one, two = core_model(first.model), core_model(other.model)
    shapes = [{key: tuple(value.shape) for key, value in core.state_dict().items()} for core in (one, two)]
    differs = {
        "architecture": type(one).__name__ != type(two).__name__,
        "shapes of weights": shapes[0] != shapes[1],
        "vocabulary": first.tokenizer.get_vocab() != other.tokenizer.get_vocab(),
        "chat template": template_hash(first.tokenizer) != template_hash(other.tokenizer),
        "pooling": first.contract.pooling != other.contract.pooling,  # type: ignore[union-attr]
        "rule for plain texts": first.renderer.policy != other.renderer.policy,
    }
    found = [what for what, is_other in differs.items() if is_other]
    if found:
        raise ConfigError(f"{name} and {first_name} differ in {', '.join(found)}; average models of one base")


def _require_one_base(first_name: str, first: dict[str, Tensor], name: str, other: dict[str, Tensor]) -> float:
    """Return the cosine of two backbones' weights. Raises ConfigError for models of two bases."""
    matrices = [key for key, value in first.items() if value.ndim >= 2 and value.shape[0] > 1]
    dot = math.fsum(float((first[key].double() * other[key].double()).sum()) for key in matrices)
    lengths = [math.fsum(float(w[key].double().square().sum()) for key in matrices) for w in (first, other)]
    cosine = dot / math.sqrt(lengths[0] * lengths[1])
    if not cosine >= LEAST_COSINE:
        raise ConfigError(
            f"the weights of {name} and {first_name} have a cosine of {cosine:.2f}, below {LEAST_COSINE}: they were "
            "not fine-tuned from one base, and the mean of their weights would be no model"
        )
    return cosine


def _rescale(first: LoadedModel, name: str, held_out: object, tie_model: str | None) -> tuple[float, dict[str, Any]]:
    """Divide the head by the temperature of held-out judgements; returns the factor, and fields of the contract."""
    if held_out is None:
        return 1.0, {"reward_mean": None, "reward_std": None, "reward_n": 0}
    groups = list(load_preferences(held_out, merge_prompts=True))[:GROUPS_FOR_SCALE]
    rewards = RewardModel(first, name).score_requests([ScoreRequest.of_group(group) for group in groups])
    fit = None if tie_model is None else _fitted(groups, rewards, tie_model)
    scale = 1.0 / (_temperature(groups, rewards) if fit is None else fit.temperature.value)
    _, _, layer = wide_head.linear_head(core_model(first.model))
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale)
    values = np.array([reward for row in rewards for reward in row]) * scale
    fields = {"reward_mean": float(values.mean()), "reward_std": float(values.std(ddof=1)), "reward_n": len(values)}
    return scale, fields if fit is None else fields | {"tie_model": tie_model, "tie_threshold": fit.threshold.value}


def _fitted(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]], tie_model: str) -> TieFit | None:
    """Fit temperature and threshold together; None where the judgements have no optimum, such as those without ties."""
    pairs = [(row, one) for row, group in zip(rewards, groups, strict=True) for one in judgements(group)]
    judged = Judged.of(
        [(row[one.better] - row[one.worse], one.shares, "") for row, one in pairs if one.better != one.worse]
    )
    return None if why_no_fit(judged) else fit_ties(judged, tie_model)


def _temperature(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]]) -> float:
    judged = comparisons_of_groups(groups).judged()
    judged = judged.select(~judged.is_tie_P)
    margin_P = judged.differences(torch.tensor([r for row in rewards for r in row], dtype=torch.float64)).numpy()
    found = fit_temperature(margin_P, judged.probability_P.double().numpy())
    if not math.isfinite(found):
        raise ConfigError("held-out judgements set no scale: no margin differs from 0; give others, or leave them out")
    return found
