"""Decoders that pool, or add a bias, as no class of transformers does, saved with self-contained modelling code."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.models import modeling_pooled_reward
from rewardsmith.models.modeling_pooled_reward import PooledRewardModel

CODE = Path(modeling_pooled_reward.__file__)
AUTO_MAP = {"AutoModelForSequenceClassification": f"{CODE.stem}.{PooledRewardModel.__name__}"}


def to_pooled(model: PreTrainedModel, pooling: str) -> PooledRewardModel:
    """Return a pooled reward model around the backbone of `model`; the backbone is moved, not copied."""
    backbone = getattr(model, model.base_model_prefix)
    backbone.config._name_or_path = model.config._name_or_path
    return pool_backbone(backbone, pooling, model.config).to(device=model.device)  # type: ignore[call-arg]


def pool_backbone(backbone: PreTrainedModel, pooling: str, config: PreTrainedConfig | None = None) -> PooledRewardModel:
    """Return a reward model with a new head around any decoder that transformers has no sequence classifier of.

    Args:
        backbone: a decoder without a head; it is moved, not copied.
        config: what is saved; None takes the backbone's.
    """
    config = copy.deepcopy(config or backbone.config)
    config.reward_pooling = pooling
    config.num_labels = 1
    config.auto_map = {**(getattr(config, "auto_map", None) or {}), **AUTO_MAP}
    # On no device: the weights of this backbone are never used, and those of a large one would not fit twice.
    with torch.device("meta"):
        pooled = PooledRewardModel(config)
    pooled.model = backbone
    pooled.score = nn.Linear(pooled.score.in_features, 1, bias=pooled.has_bias, dtype=backbone.dtype)
    pooled.config._name_or_path = backbone.config._name_or_path
    return pooled


def with_bias(model: PreTrainedModel) -> PooledRewardModel:
    """Give a decoder whose linear head `score` has a bias in the class that saves and loads the bias."""
    head: nn.Linear = model.score  # type: ignore[assignment]
    model.config.reward_bias = True
    built = to_pooled(model, getattr(model.config, "reward_pooling", "last"))
    built.score = head
    return built


# transformers registers the class of a folder for its type of config, and asks the class for that type.
NAMES_CONFIG = """
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

PooledRewardModel.config_class = CONFIG_MAPPING[{model_type!r}]
"""


def copy_code(folder: str | Path, model: PreTrainedModel) -> None:
    """Put the modelling code beside the weights of a pooled model, made out for its type of config."""
    if not hasattr(model.config, "reward_pooling"):
        return
    code = CODE.read_text()
    if model.config.model_type in CONFIG_MAPPING:
        code += NAMES_CONFIG.format(model_type=model.config.model_type)
    (Path(folder) / CODE.name).write_text(code)
