"""Load a sequence classifier with one label, and initialise a head that is new."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.models.pooled import to_pooled

HEAD_NAMES = ("score", "classifier", "classification_head")


def find_head(model: PreTrainedModel) -> nn.Module:
    """Give the module that turns hidden states into the reward. Raises ConfigError when there is none."""
    for name in HEAD_NAMES:
        if isinstance(getattr(model, name, None), nn.Module):
            return getattr(model, name)
    raise ConfigError(f"{type(model).__name__} has no reward head ({', '.join(HEAD_NAMES)}); load it with num_labels=1")


def initialise_head(head: nn.Module, how: str) -> None:
    """Initialise the last linear layer of a new head.

    "normal" draws from N(0, 1/(d+1)), d the width it reads (Stiennon et al. 2020, appendix B.1); "zero" makes the
    first loss ln 2 exactly; "keep" leaves what transformers drew.
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if how == "keep" or not layers:
        return
    last = layers[-1]
    with torch.no_grad():
        if how == "zero":
            last.weight.zero_()
        else:
            last.weight.normal_(std=(last.in_features + 1) ** -0.5)
        if last.bias is not None:
            last.bias.zero_()


def load_sequence_classifier(
    name: str, *, pooling: str = "last", head_init: str = "normal", trust_remote_code: bool = False, **options: Any
) -> tuple[PreTrainedModel, list[str]]:
    """Load a model by id or path as a reward model and say what is new in it.

    Args:
        name: hub id or folder of any checkpoint; a language model gets a new head, a classifier keeps its own.
        pooling: "last", "mean" or "mean_max".
        head_init: "normal", "zero" or "keep", for a head that is new.
        options: further arguments of `from_pretrained`; dtype is float32 unless given, as in TRL.

    Raises:
        CheckpointError: nothing can be loaded from there, or its head has several labels.
    """
    options.setdefault("dtype", torch.float32)
    if isinstance(options["dtype"], str) and options["dtype"] != "auto":
        options["dtype"] = getattr(torch, options["dtype"])
    _refuse_several_labels(name, trust_remote_code, options.get("revision"))
    try:
        with quiet_loading():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                name, num_labels=1, trust_remote_code=trust_remote_code, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise CheckpointError(f"cannot load {name!r} as a reward model: {error}") from error
    head = find_head(model)
    names = {n for n, module in model.named_modules() if module is head}
    is_new = any(str(key).split(".")[0] in names for key in info["missing_keys"])
    notes: list[str] = []
    if is_new:
        initialise_head(head, head_init)
        notes.append(f"{name} has no reward head; a new one was initialised ({head_init})")
    if pooling != getattr(model.config, "reward_pooling", "last"):
        model, more = with_pooling(model, pooling, head_init)
        notes += more
    return model, notes


def with_pooling(model: Any, pooling: str, head_init: str = "normal") -> tuple[Any, list[str]]:
    """Give the same decoder with another pooling and a new head of the width it needs."""
    if pooling == "last":
        return model, ["the model keeps the pooling it was saved with"]
    if not hasattr(model, "score"):
        raise ConfigError(f"pooling={pooling!r} is for decoders; {type(model).__name__} pools in its own way")
    pooled = to_pooled(model, pooling)
    initialise_head(pooled.score, head_init)
    return pooled, [f"pooling={pooling!r}: a new head was initialised ({head_init})"]


def _refuse_several_labels(name: str, trust_remote_code: bool, revision: str | None) -> None:
    """Refuse a classifier that was saved with several labels: its head cannot give one reward."""
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code, revision=revision)
    except (OSError, ValueError) as error:
        where = "folder" if Path(name).exists() else "model"
        raise CheckpointError(f"no {where} {name!r} could be loaded: {str(error).splitlines()[0]}") from error
    is_classifier = any("ForSequenceClassification" in a for a in config.architectures or ())
    if is_classifier and config.num_labels > 1:
        raise CheckpointError(
            f"{name!r} is a classifier with {config.num_labels} labels; a reward model has one: start from its "
            "language model, or save it with num_labels=1"
        )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers' report of weights that are new or unused, where the caller checks them."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
