"""Put a foreign backbone and its linear value head into transformers' sequence classifier.

So it is scored, shared by prefix and saved like every other reward model, and its head is never drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardsmith.errors import CheckpointError, missing_extra
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import ImportOptions
from rewardsmith.models.heads import quiet_loading, unused_note, unused_weights


@dataclass(frozen=True)
class LinearHead:
    """Names of a value head in a folder; `bias` is "" when the head has none."""

    weight: str
    bias: str = ""


def build_classifier(
    folder: Folder,
    head: LinearHead,
    options: ImportOptions,
    config: Any = None,
    rename: Callable[[str, str], str] = lambda name, prefix: name,
) -> tuple[Any, list[str]]:
    """Return the sequence classifier with the backbone and head of `folder`, and what it does not take of it.

    Args:
        config: the backbone's config; None reads it from the folder.
        rename: gives a weight's name in the classifier; its second argument is the class's backbone prefix.

    Raises:
        CheckpointError: there is no classifier for such a backbone, or weights are missing or of a wrong shape.
    """
    backbone = _merged_weights(folder, options) if folder.is_adapter else None
    if config is None:
        config = AutoConfig.from_pretrained(base_of(folder), trust_remote_code=options.trust_remote_code)
    config.num_labels = 1
    classes = AutoModelForSequenceClassification._model_mapping
    if type(config) not in classes:
        raise CheckpointError(f"{folder.path}: transformers has no sequence classifier for {config.model_type!r}")
    model_class: Any = classes[type(config)]
    if backbone is None:
        backbone = folder.read(name for name in folder.files if name not in (head.weight, head.bias))
    prefix = model_class.base_model_prefix
    weights = {rename(name, prefix): tensor for name, tensor in backbone.items() if not name.startswith("lm_head.")}
    dtype = options.model.get("dtype", torch.float32)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
    with quiet_loading():
        model, info = model_class.from_pretrained(
            None, config=config, state_dict=weights, output_loading_info=True, dtype=dtype
        )
    missing = sorted(str(key) for key in info["missing_keys"] if not str(key).startswith("score."))
    if missing or not isinstance(getattr(model, "score", None), nn.Linear):
        what = f"lacks the weights {', '.join(missing[:4])}" if missing else "is no decoder with a linear head"
        raise CheckpointError(f"{folder.path}: its backbone {what}; rewards would be random")
    _set_head(model, folder, head)
    # OpenRLHF keeps the mean and deviation of rewards as buffers; its importer reads them.
    unused = unused_weights(key for key in info["unexpected_keys"] if key not in ("mean", "std"))
    return model, unused_note(str(folder.path), model, unused)


def base_of(folder: Folder) -> str:
    """Name where the backbone's config lies: the folder, or the base model of an adapter."""
    if not folder.is_adapter or folder.config:
        return str(folder.path)
    return _adapter_base(folder)


def _set_head(model: Any, folder: Folder, head: LinearHead) -> None:
    tensors = folder.read(name for name in (head.weight, head.bias) if name)
    weight = tensors[head.weight].reshape(1, -1) if tensors[head.weight].ndim == 1 else tensors[head.weight]
    width = model.score.in_features
    if tuple(weight.shape) != (1, width):
        raise CheckpointError(
            f"{folder.path}: head {head.weight} has the shape {list(weight.shape)}, one reward needs [1, {width}]"
        )
    model.score = nn.Linear(width, 1, bias=bool(head.bias)).to(device=model.device, dtype=model.dtype)
    with torch.no_grad():
        model.score.weight.copy_(weight)
        if head.bias:
            model.score.bias.copy_(tensors[head.bias].reshape(1))


def _adapter_base(folder: Folder) -> str:
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    base = PeftConfig.from_pretrained(str(folder.path)).base_model_name_or_path
    if not base:
        raise CheckpointError(f"{folder.path} names no base model; write its path into base_model_name_or_path")
    return base


def _merged_weights(folder: Folder, options: ImportOptions) -> dict[str, Tensor]:
    """Merge a LoRA adapter of a language model into its base and give the weights."""
    base = _adapter_base(folder)
    from peft import PeftModel

    with quiet_loading():
        language_model = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, trust_remote_code=options.trust_remote_code
        )
        merged: Any = PeftModel.from_pretrained(language_model, str(folder.path)).merge_and_unload()  # type: ignore[operator]
    return merged.state_dict()
