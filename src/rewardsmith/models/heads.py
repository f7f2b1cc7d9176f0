"""Heads: load a classifier with one label, initialise a new one, pool where no class of transformers does."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)
from transformers.utils import logging as transformers_logging

from rewardsmith.errors import CheckpointError, ConfigError, MissingModelError, listed
from rewardsmith.models import modeling_pooled_reward
from rewardsmith.models.foreign.folder import cached_commit, why_not
from rewardsmith.models.modeling_pooled_reward import PooledRewardModel
from rewardsmith.models.zero3 import gathered, sharded

# What a language model and its pre-training leave in a checkpoint.
LANGUAGE_HEADS = ("lm_head.", "cls.", "mask_predictions.", "generator_predictions.", "discriminator_predictions.")
HEAD_NAMES = ("score", "classifier", "classification_head")


def find_head(model: PreTrainedModel) -> nn.Module:
    """Return the module that turns hidden states into the reward. Raises ConfigError when there is none."""
    for name in HEAD_NAMES:
        if isinstance(getattr(model, name, None), nn.Module):
            return getattr(model, name)
    raise ConfigError(f"{type(model).__name__} has no reward head ({', '.join(HEAD_NAMES)}); load it with num_labels=1")


# Decoders whose head has another name than `score`, or several parts.
HEADS_BY_TYPE = {"ctrl": ("classifier",), "modernbert-decoder": ("head", "drop", "classifier")}


def is_decoder(model: PreTrainedModel) -> bool:
    """Whether a classifier's head reads a decoder's hidden states token by token."""
    return hasattr(model, "score") or model.config.model_type in HEADS_BY_TYPE


def initialise_head(head: nn.Module, how: str) -> None:
    """Initialise the last linear layer of a new head.

    "normal" draws from N(0, 1/(d+1)), d the width it reads (Stiennon et al. 2020, appendix B.1); "zero" makes the
    first loss ln 2 exactly; "keep" leaves what transformers drew.
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if how == "keep" or not layers:
        return
    last = layers[-1]
    with torch.no_grad(), gathered(sharded(last)):
        if how == "zero":
            last.weight.zero_()
        else:
            last.weight.normal_(std=(last.in_features + 1) ** -0.5)
        if last.bias is not None:
            last.bias.zero_()


def load_sequence_classifier(
    name: str,
    *,
    pooling: str = "last",
    head_init: str = "normal",
    trust_remote_code: bool = False,
    num_labels: int = 1,
    **options: Any,
) -> tuple[PreTrainedModel, list[str]]:
    """Load a model by id or path as a reward model and say what is new in it.

    Args:
        name: hub id or folder of any checkpoint; a language model gets a new head, a classifier keeps its own.
        pooling: "last", "mean" or "mean_max".
        head_init: "normal", "zero" or "keep", for a head that is new.
        num_labels: a head that was saved with as many keeps them; any other model is given one.
        options: further arguments of `from_pretrained`; dtype is float32 unless given, as in TRL.

    Raises:
        CheckpointError: nothing can be loaded from there, or its head has several labels.
    """
    found = open_classifier(name, pooling, trust_remote_code, options, num_labels)
    model, notes = found.model, list[str]()
    if found.has_new_head:
        initialise_head(find_head(model), head_init)
        notes.append(f"{name} has no reward head; a new one was initialised ({head_init})")
    # An encoder's pooler is as new as the head that reads it.
    if drawn := [weight for weight in found.missing if ".pooler." not in weight]:
        notes.append(f"{name} lacks weights of {type(model).__name__}, which begin at random: {_first(drawn)}")
    notes += unused_note(name, model, found.unused)
    if pooling != getattr(model.config, "reward_pooling", "last"):
        model, more = with_pooling(model, pooling, head_init)
        notes += more
    return model, notes


@dataclass(frozen=True, slots=True)
class OpenedClassifier:
    """A classifier as transformers loads it.

    Args:
        has_new_head: whether the checkpoint lacks the head, so that it holds random weights.
        unused: weights of the checkpoint that the model has no place for, a language model's head aside.
        missing: weights of the model, its head aside, that the checkpoint lacks, so that they are random.
    """

    model: Any
    has_new_head: bool
    unused: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def require_whole(self, name: str) -> None:
        """Refuse a checkpoint that lacks weights. Raises CheckpointError."""
        if self.missing:
            raise CheckpointError(f"{name} lacks the weights {_first(self.missing)}; rewards would be random")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def open_classifier(
    name: str, pooling: str, trust_remote_code: bool, options: dict[str, Any], labels: int = 1
) -> OpenedClassifier:
    """Load a checkpoint into a classifier: with `labels` labels where it was saved with as many, else with one.

    Raises:
        CheckpointError: nothing can be loaded, or its head has another number of labels.
    """
    options.setdefault("dtype", torch.float32)
    if isinstance(options["dtype"], str) and options["dtype"] != "auto":
        options["dtype"] = getattr(torch, options["dtype"])
    config = _require_labels(name, trust_remote_code, options.get("revision"), labels)
    model, missing, unexpected = _load_weights(name, config, pooling, trust_remote_code, options)
    # What a contract says of its source; transformers forgets it.
    model.config._commit_hash = cached_commit(name, options.get("revision"))
    head = find_head(model)
    names = {n for n, module in model.named_modules() if module is head}
    lacking = sorted(str(key) for key in missing if str(key).split(".")[0] not in names)
    return OpenedClassifier(model, len(lacking) < len(missing), unused_weights(unexpected), tuple(lacking))


def unused_weights(unexpected: Iterable[Any]) -> tuple[str, ...]:
    """Return the weights that a model has no place for; the head of a language model is expected to go.

    The heads of an ensemble beside their mean are installed after it.
    """
    names = (str(key) for key in unexpected)
    return tuple(
        sorted(name for name in names if not name.startswith(LANGUAGE_HEADS) and not name.endswith(".deviations"))
    )


def unused_note(name: str, model: nn.Module, unused: Sequence[str]) -> list[str]:
    """Say which weights of a checkpoint a model does not take: without them its rewards may be others."""
    if not unused:
        return []
    shown = ", ".join(unused[:6]) + (f" and {len(unused) - 6} more" if len(unused) > 6 else "")
    return [
        f"{name} holds weights that {type(model).__name__} does not take: {shown}; the rewards are those without them, "
        "perhaps not those it was trained for"
    ]


def own_weights(model: nn.Module) -> None:
    """Copy weights, which may be maps of a file: whoever writes over it would change rewards, or end the process."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def with_pooling(model: PreTrainedModel, pooling: str, head_init: str = "normal") -> tuple[Any, list[str]]:
    """Return the same decoder with another pooling and a new head of the width it needs."""
    if pooling == "last":
        return model, ["the model keeps the pooling it was saved with"]
    if not is_decoder(model):
        raise ConfigError(f"pooling={pooling!r} is for decoders; {type(model).__name__} pools in its own way")
    _require_known_type(model, f"pooling={pooling!r}")
    pooled = to_pooled(model, pooling)
    initialise_head(pooled.score, head_init)
    return pooled, [f"pooling={pooling!r}: a new head was initialised ({head_init})"]


def with_hidden_layer(model: PreTrainedModel, width: int, head_init: str = "normal") -> tuple[Any, list[str]]:
    """Give the same decoder a new head with a hidden layer; one that has such a head keeps it."""
    if getattr(model.config, "reward_head_width", None):
        return model, ["the model keeps the hidden layer of its head"]
    if not is_decoder(model):
        raise ConfigError(f"head='mlp' is for decoders; {type(model).__name__} has a head of its own")
    _require_known_type(model, "head='mlp'")
    model.config.reward_head_width = width
    built = to_pooled(model, getattr(model.config, "reward_pooling", "last"))
    initialise_head(built.score, head_init)
    return built, [f"head='mlp': a new head with {width} hidden units was initialised ({head_init})"]


def brings_code(model: PreTrainedModel) -> bool:
    """Whether a model is of a class that its folder brought: whoever loaded it has allowed its code."""
    return type(model).__module__.startswith("transformers_modules.")


def _require_known_type(model: PreTrainedModel, setting: str) -> None:
    """Refuse a head of ours over a backbone whose folder brings its code: a folder names one class of its own."""
    if model.config.model_type not in CONFIG_MAPPING:
        raise ConfigError(
            f"{setting} saves Python code of ours, and {type(model).__name__} brings its own: a folder cannot hold "
            "both; keep pooling='last' and head='linear'"
        )


def _require_labels(name: str, trust_remote_code: bool, revision: str | None, labels: int) -> PreTrainedConfig:
    """Return a model's config, with the number of labels to load it with.

    Refuses a classifier that was saved with several labels of which nobody says how they make one reward.
    """
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code, revision=revision)
    except (OSError, ValueError) as error:
        where = "folder" if Path(name).exists() else "model"
        raise MissingModelError(f"no {where} {name!r} could be loaded: {why_not(error)}") from error
    is_classifier = any("ForSequenceClassification" in a for a in config.architectures or ())
    is_classifier |= hasattr(config, "reward_pooling")
    if is_classifier and config.num_labels not in (1, labels):
        if labels > 1:
            raise CheckpointError(
                f"{name!r} has {config.num_labels} labels ({listed(config.id2label.values())}), but {labels} ratings "
                "are to be learned: name those labels in attributes, or start from its language model"
            )
        raise CheckpointError(
            f"{name!r} is a classifier with {config.num_labels} labels; a reward model has one: start from its "
            "language model, or save it with num_labels=1. What training on ratings wrote says in its "
            "scoring_contract.json how they make a reward; copy that too"
        )
    config.num_labels = config.num_labels if is_classifier else 1
    return config


def _load_weights(
    name: str, config: PreTrainedConfig, pooling: str, trust_remote_code: bool, options: dict[str, Any]
) -> tuple[Any, Sequence[str], Sequence[str]]:
    """Load the class that transformers or we have of it, else a backbone under a head of ours.

    Where a folder brings our code, it is our own that runs, so nobody has to allow it.

    Returns:
        The model, and the names of the weights that the checkpoint lacks, and of those that the model does not take.
    """
    has_class = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    loader: type[Any]
    changes: dict[str, Any]
    own_code = getattr(config, "auto_map", None) or {}
    is_pooled = hasattr(config, "reward_pooling") and config.model_type in CONFIG_MAPPING
    if is_pooled:
        loader, changes = PooledRewardModel, {"config": config}
    elif not has_class and AutoModelForSequenceClassification.__name__ not in own_code:
        _require_causal(name, config)
        loader, changes = AutoModel, {}
    else:
        loader, changes = AutoModelForSequenceClassification, {"num_labels": config.num_labels}
    if not is_pooled:
        changes["trust_remote_code"] = trust_remote_code
    try:
        with quiet_loading():
            loaded: Any = loader.from_pretrained(name, output_loading_info=True, **changes, **options)
            model, info = loaded
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise CheckpointError(f"cannot load {name!r} as a reward model: {why_not(error)[:300]}") from error
    if loader is not AutoModel:
        return model, info["missing_keys"], info["unexpected_keys"]
    return pool_backbone(model, pooling), [*info["missing_keys"], "score.weight"], info["unexpected_keys"]


def _require_causal(name: str, config: PreTrainedConfig) -> None:
    """Refuse a type of model that has neither a classifier nor a causal language model."""
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(
            f"{name!r} is of type {config.model_type!r}, of which no reward model can be made: start from a causal "
            "language model, an encoder or a sequence classifier"
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
    pooled.score = modeling_pooled_reward.make_head(config).to(backbone.dtype)
    pooled.config._name_or_path = backbone.config._name_or_path
    return pooled


def with_bias(model: PreTrainedModel) -> PooledRewardModel:
    """Return a decoder whose linear head `score` has a bias in the class that saves and loads the bias."""
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


@contextmanager
def quiet_renames() -> Iterator[None]:
    """Keep back what transformers says of names that peft still asks by: nobody who trains or loads can act on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated", category=FutureWarning)
        yield


def load_trained(path: str, trust_remote_code: bool, options: dict[str, Any], labels: int = 1) -> tuple[Any, list[str]]:
    """Load a whole model with the head it was trained with, of so many labels, and what of the folder it does not take.

    Raises:
        CheckpointError: there is no trained head, or weights are missing: rewards would be random.
    """
    found = open_classifier(path, "last", trust_remote_code, options, labels)
    if found.has_new_head:
        own = [name for name in found.unused if name.split(".")[0] in HEAD_NAMES]
        what = (
            f"a head of {len({name.rpartition('.')[0] for name in own})} layers ({', '.join(own[:4])}), where "
            f"{type(found.model).__name__} takes one linear layer"
            if own
            else "no reward head"
        )
        raise CheckpointError(
            f"{path} holds {what}, so its rewards would be random; train it first, or point to the folder that "
            "training wrote"
        )
    found.require_whole(path)
    return found.model, unused_note(path, found.model, found.unused)
