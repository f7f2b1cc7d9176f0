"""Adapters of PEFT on a live model: which one a folder holds, and merging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from rewardsmith.errors import ConfigError


def require_own_folder(model: PreTrainedModel) -> None:
    """Refuse a live adapter that PEFT would save into a folder inside the model's, where no loader looks for it."""
    active = getattr(model, "active_adapters", None)
    # A method where transformers itself holds the adapter, which it saves beside the config.
    if isinstance(active, list) and active != ["default"]:
        names = ", ".join(map(repr, active)) or "none"
        raise ConfigError(
            f"the active adapter of the model is {names}; the one that is trained and saved is 'default': make it with "
            "get_peft_model(model, config), or choose it with set_adapter('default')"
        )


def merge_adapter(model: nn.Module) -> Any:
    """Merge a LoRA adapter and its head into the base model. Raises ConfigError for a model without one."""
    merge: Callable[[], Any] | None = getattr(model, "merge_and_unload", None)
    if merge is None:
        raise ConfigError(f"{type(model).__name__} has no adapter to merge")
    if any(getattr(given, "layer_replication", None) for given in getattr(model, "peft_config", {}).values()):
        raise ConfigError(
            "repeated layers (layer_replication) share weights, which each would change: keep the adapter"
        )
    return merge()
