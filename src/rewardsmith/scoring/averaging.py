"""One model from several: the mean of their weights, brought back to the scale on which margins are log odds.

Models that were fine-tuned from one base lie in one basin, and the mean of their weights is as accurate as their
ensemble at the cost of one (Rame et al. 2024, "WARM", arXiv 2401.12187, eq. 3). Averaging shrinks margins, so
held-out judgements set the scale of the head anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from rewardsmith.models.checkpoint import LoadedModel, load_reward_model, require_golden, save_reward_model
from rewardsmith.models.contract import template_hash
from rewardsmith.models.foreign.folder import local_folder, member_folders
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.objectives.comparisons import comparisons_of_groups
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.scoring.exporting import KEPT
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.stats.calibration import fit_temperature

# The cosine of the backbones' weights: near 1 for models that were fine-tuned from one base, near 0 for two bases.
LEAST_COSINE = 0.8
GROUPS_FOR_SCALE = 512


@dataclass(frozen=True)
class Averaged:
    """A model whose weights are a mean.

    Args:
        folder: where it lies.
        members: how many models it is of.
        cosine: the lowest cosine of a member's backbone with the first one's.
        scale: what the head was multiplied by; 1 without held-out judgements.
    """

    folder: Path
    members: int
    cosine: float
    scale: float


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
        ConfigError: fewer than two, another architecture, tokenizer, template or base, or a folder that is taken.
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
    for folder in folders[1:]:
        other = _load(folder, trust_remote_code)
        _require_alike(str(folders[0]), first, str(folder), other)
        weights = _weights(core_model(other.model))
        lowest = min(lowest, _require_one_base(str(folders[0]), begun, str(folder), weights))
        for name in total:
            total[name] += weights[name]
    with torch.no_grad():
        for name, value in core.state_dict().items():
            if name in total:
                value.copy_(total[name] / len(folders))
    scale, fields = _rescale(first, str(out), held_out)
    assert first.contract is not None
    kept = {name: getattr(first.contract, name) for name in KEPT if name not in ("temperature", "objective")}
    objective = {"averaged": [Path(folder).name for folder in folders], "scale": scale}
    plan = prepare_model(core)
    save_reward_model(core, first.tokenizer, out, plan, verify=verify, **{**kept, **fields, "objective": objective})
    return Averaged(out, len(folders), lowest, scale)


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


def _rescale(first: LoadedModel, name: str, held_out: object) -> tuple[float, dict[str, Any]]:
    """Divide the head by the temperature of held-out judgements; returns the factor, and fields of the contract."""
    if held_out is None:
        return 1.0, {"reward_mean": None, "reward_std": None, "reward_n": 0}
    groups = list(load_preferences(held_out, merge_prompts=True))[:GROUPS_FOR_SCALE]
    rewards = RewardModel(first, name).score_requests([ScoreRequest.of_group(group) for group in groups])
    temperature = _temperature(groups, rewards)
    scale = 1.0 / temperature
    _, _, layer = wide_head.linear_head(core_model(first.model))
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale)
    values = np.array([reward for row in rewards for reward in row]) * scale
    return scale, {
        "reward_mean": float(values.mean()),
        "reward_std": float(values.std(ddof=1)),
        "reward_n": len(values),
    }


def _temperature(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]]) -> float:
    judged = comparisons_of_groups(groups).judged()
    judged = judged.select(~judged.is_tie_P)
    margin_P = judged.differences(torch.tensor([r for row in rewards for r in row], dtype=torch.float64)).numpy()
    found = fit_temperature(margin_P, judged.probability_P.double().numpy())
    if not math.isfinite(found):
        raise ConfigError("held-out judgements set no scale: no margin differs from 0; give others, or leave them out")
    return found
