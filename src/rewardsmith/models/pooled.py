"""Decoders that pool, or add a bias, as no class of transformers does, saved with self-contained modelling code."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from rewardsmith.models import modeling_pooled_reward
from rewardsmith.models.modeling_pooled_reward import PooledRewardModel

CODE = Path(modeling_pooled_reward.__file__)
AUTO_MAP = {"AutoModelForSequenceClassification": f"{CODE.stem}.{PooledRewardModel.__name__}"}


def to_pooled(model: PreTrainedModel, pooling: str) -> PooledRewardModel:
    """Give a pooled reward model around the backbone of `model`; the backbone is moved, not copied."""
    config = copy.deepcopy(model.config)
    config.reward_pooling = pooling
    config.auto_map = dict(AUTO_MAP)
    pooled = PooledRewardModel(config)
    pooled.model = getattr(model, model.base_model_prefix)
    pooled.config._name_or_path = model.config._name_or_path
    return pooled.to(device=model.device, dtype=model.dtype)  # type: ignore[call-arg]


def with_bias(model: PreTrainedModel) -> PooledRewardModel:
    """Give a decoder whose linear head `score` has a bias in the class that saves and loads the bias."""
    head: nn.Linear = model.score  # type: ignore[assignment]
    model.config.reward_bias = True
    built = to_pooled(model, getattr(model.config, "reward_pooling", "last"))
    built.score = head
    return built


def copy_code(folder: str | Path, model: Any) -> None:
    """Put the modelling code beside the weights of a pooled model."""
    if hasattr(model.config, "reward_pooling"):
        shutil.copy(CODE, Path(folder) / CODE.name)
