"""Adapters and quantisation: from flags to their configurations, and around a model with its head trained."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from rewardsmith.errors import CheckpointError, ConfigError, MissingExtraError, WrongTypeError, missing_extra
from rewardsmith.files.settings import option
from rewardsmith.models.contract import FILE_NAME as CONTRACT
from rewardsmith.models.foreign.folder import ADAPTER, open_folder, read_config
from rewardsmith.models.heads import find_head, quiet_renames
from rewardsmith.models.hub import MERGED
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.places import is_token_classifier
from rewardsmith.models.zero3 import whole_models
from rewardsmith.scoring.exporting import ExportOptions, export_model
from rewardsmith.training.config import RewardConfig

# What PEFT itself adds to `modules_to_save` of a classifier, and the head of a language model: one of them may lack.
HEADS_OF_OTHERS = ("classifier", "score", "lm_head")
# Where the model goes that an adapter was merged into, for another to be trained on.
MERGED_BASE = "merged-base"
# Packages that a tracker needs, any one of them.
TRACKERS = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}
TRACKERS |= {name: (name,) for name in ("mlflow", "swanlab", "clearml", "comet_ml", "dvclive", "codecarbon")}


def peft_config(model: ModelConfig) -> Any:
    """Return the LoRA configuration. Raises MissingExtraError without peft."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    targets = model.lora_target_modules
    # PEFT reads a text as "all-linear" or as a pattern of whole names, so one module's name stays in its list.
    is_pattern = targets is not None and len(targets) == 1 and re.fullmatch(r"\w+", targets[0]) is None
    settings: dict[str, Any] = {
        "r": model.lora_r,
        "lora_alpha": model.lora_alpha,
        "lora_dropout": model.lora_dropout,
        "target_modules": targets[0] if targets and is_pattern else targets,
        "target_parameters": model.lora_target_parameters,
        "modules_to_save": model.lora_modules_to_save,
        "task_type": model.lora_task_type,
        "use_rslora": model.use_rslora,
        "use_dora": model.use_dora,
        "bias": "none",
    }
    try:
        return LoraConfig(**settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the adapter's settings are refused: {str(error).splitlines()[0]}") from error


def require_extras(model: ModelConfig, config: RewardConfig) -> None:
    """Refuse flags whose extra is missing before data are read. Raises MissingExtraError with the remedy."""
    wanted = {
        "peft": ("peft", model.use_peft),
        "bitsandbytes": ("quantization", model.use_peft and (model.load_in_4bit or model.load_in_8bit)),
    }
    for package, (extra, is_asked) in wanted.items():
        if is_asked and find_spec(package) is None:
            raise missing_extra(package, extra)
    for tracker in config.report_to or ():
        packages = TRACKERS.get(tracker, ())
        if packages and not any(map(find_spec, packages)):
            raise MissingExtraError(f"--report_to {tracker}: run pip install {packages[0]}, or give --report_to none")
    require_cuda(model)


def require_cuda(model: ModelConfig) -> None:
    """Refuse a quantised base without a GPU of CUDA, before data are read. Raises ConfigError."""
    if model.use_peft and (model.load_in_4bit or model.load_in_8bit) and not torch.cuda.is_available():
        bits = 4 if model.load_in_4bit else 8
        raise ConfigError(
            f"load_in_{bits}bit needs a CUDA GPU, and there is none here: leave it out (LoRA trains on any machine)"
        )


def quantization_config(model: ModelConfig) -> Any:
    """Return the bitsandbytes configuration. Raises MissingExtraError without bitsandbytes."""
    if not model.use_peft:
        raise ConfigError("a quantised model trains only through an adapter; add --use_peft")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise missing_extra("bitsandbytes", "quantization") from error
    from transformers import BitsAndBytesConfig

    if model.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype="bfloat16" if model.dtype in (None, "auto") else model.dtype,
        bnb_4bit_quant_type=model.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=model.use_bnb_nested_quant,
        bnb_4bit_quant_storage=model.bnb_4bit_quant_storage,
    )


def merged_start(name: str, given: object, args: RewardConfig, notes: list[str]) -> str:
    """Return the model that a new adapter is trained on: of a folder with an adapter, the merged one; else `name`.

    It is the one beside the adapter, or is written once beside the run, by the first process.

    Raises:
        CheckpointError: the adapter cannot be loaded, or merged without other rewards.
    """
    if given is None or not (Path(name) / ADAPTER).is_file():
        return name
    merged = Path(name) / MERGED
    if not (merged / CONTRACT).is_file():
        merged = Path(str(args.output_dir)) / MERGED_BASE
        with args.main_process_first(local=False), whole_models():
            if not (merged / CONTRACT).is_file():
                export_model(name, merged, ExportOptions(trust_remote_code=args.trust_remote_code, verify=False))
    notes.append(f"{name} is an adapter: the new one is trained on the merged model, {merged}")
    return str(merged)


def wrap_adapter(model: PreTrainedModel, given: object, notes: list[str], new_tokens: Sequence[int] = ()) -> Any:
    """Wrap the model in an adapter that trains and saves the reward head; the caller's configuration stays as it is.

    Args:
        new_tokens: ids whose embeddings are random, so that they are trained beside the adapter, as in TRL.
    """
    try:
        from peft import PeftConfig, get_peft_model
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    if not isinstance(given, PeftConfig):
        raise WrongTypeError(f"peft_config must be a peft.PeftConfig such as LoraConfig, not {type(given).__name__}")
    if hasattr(model, "peft_config"):
        raise ConfigError(
            "the model already has an adapter; merge it first, or name its folder, of which the merged model is taken"
        )
    if given.is_prompt_learning:
        raise ConfigError(
            f"{type(given).__name__} puts learned tokens before every row, and a reward model's folder cannot say so "
            "to the tools that load it; train LoRA, or the whole model"
        )
    if given.peft_type == "ADALORA":
        raise ConfigError(
            "AdaLoRA has to be told after every step where ranks are worth most, which transformers' Trainer does not "
            "do: its ranks would stay as they began; train LoRA, DoRA or rsLoRA"
        )
    peft_config = copy.deepcopy(given)
    # Whoever loads the adapter reads the same base.
    peft_config.revision = peft_config.revision or getattr(model.config, "_commit_hash", None)
    if given.inference_mode:
        notes.append("peft_config is that of a saved adapter (inference_mode=True): a new adapter like it is trained")
        peft_config.inference_mode = False
    head = _head_name(model)
    kept = list(getattr(peft_config, "modules_to_save", None) or [])
    names = {name.split(".")[-1] for name, _ in model.named_modules()}
    unknown = [name for name in kept if name not in names and name not in HEADS_OF_OTHERS]
    if unknown:
        raise ConfigError(f"modules_to_save names {', '.join(unknown)}; the model has no such module")
    kept = [name for name in kept if name in names]
    if "pooler" in names and "pooler" not in kept and _lacks_pooler(model):
        notes.append("the checkpoint has no pooler, on which the head stands: a new one is trained and saved in full")
        kept.append("pooler")
    if hasattr(peft_config, "modules_to_save"):
        peft_config.modules_to_save = kept or None
    task, wanted = peft_config.task_type, "TOKEN_CLS" if is_token_classifier(model) else "SEQ_CLS"
    if str(getattr(task, "value", task)) != wanted and head not in kept:
        notes.append(f"the adapter gets task_type='{wanted}', so that the reward head '{head}' is trained and saved")
        peft_config.task_type = wanted
    _train_tokens(peft_config, model, new_tokens, notes)
    try:
        with quiet_renames():
            wrapped = get_peft_model(model, peft_config)
            _require_kinds_of_layers(model.config.get_text_config())
            return wrapped
    except (ValueError, TypeError) as error:
        known = sorted({n.split(".")[-1] for n, module in model.named_modules() if isinstance(module, nn.Linear)})
        raise ConfigError(
            f"the adapter does not fit the model: {error}; its linear layers are {', '.join(known)}"
        ) from error


def _train_tokens(peft_config: object, model: PreTrainedModel, ids: Sequence[int], notes: list[str]) -> None:
    """Have the embeddings of these tokens trained, where the adapter is LoRA and does not train them all."""
    from peft import LoraConfig

    table = model.get_input_embeddings()
    name = next(name.split(".")[-1] for name, module in model.named_modules() if module is table)
    if not ids or not isinstance(peft_config, LoraConfig):
        return
    if name in (peft_config.modules_to_save or ()) or name in (peft_config.target_modules or ()):
        return
    asked = peft_config.trainable_token_indices or {}
    asked = dict(asked) if isinstance(asked, Mapping) else {name: list(asked)}
    peft_config.trainable_token_indices = {**asked, name: sorted({*asked.get(name, ()), *ids})}
    notes.append(f"{len(ids)} tokens are new with the chat template; the adapter trains their embeddings")


def _lacks_pooler(model: PreTrainedModel) -> bool:
    """Whether the pooler of an encoder is new: the base holds none, so an adapter without it could not be loaded."""
    try:
        stored = open_folder(str(model.config._name_or_path), {}).files
    except (CheckpointError, OSError):
        return False
    return bool(stored) and not any("pooler" in name.split(".") for name in stored)


def _require_kinds_of_layers(config: PreTrainedConfig) -> None:
    """Refuse layers that PEFT has repeated where the config names the kind of each layer: the model would fail."""
    kinds, layers = getattr(config, "layer_types", None), getattr(config, "num_hidden_layers", 0)
    if kinds and len(kinds) < layers:
        raise ConfigError(
            f"layer_replication makes {layers} layers of {len(kinds)}, and PEFT leaves the layer_types of the config "
            f"({config.model_type}) as they were, so transformers cannot compute them: leave layer_replication out, or "
            "take a model without layer_types, such as Llama"
        )


def note_untrained_head(model: PreTrainedModel, notes: list[str]) -> None:
    """Say when the adapter that a model came with leaves the reward head alone."""
    if not any(p.requires_grad for p in find_head(core_model(model)).parameters()):
        notes.append(
            "the adapter does not train the reward head: it stays as it is and is not saved with the adapter; "
            "build it with task_type='SEQ_CLS' or modules_to_save=['score']"
        )


def note_what_others_miss(config: PreTrainedConfig, pad_on_disk: int | None, pad: int | None, notes: list[str]) -> None:
    """Say when tools that read the base's config would score an adapter folder at another token, or pool otherwise."""
    remedy = "give them the merged model (rewardsmith export FOLDER MERGED)"
    if pad_on_disk != pad:
        before = "no pad token" if pad_on_disk is None else f"pad token {pad_on_disk}"
        notes.append(
            f"the adapter's base model names {before}, this run takes {pad}: tools that do not read the scoring "
            f"contract score the adapter folder wrongly; {remedy}"
        )
    pooling = getattr(config, "reward_pooling", None)
    if pooling is None or _pooling_on_disk(str(config._name_or_path)) == pooling:
        return
    if pooling == "last":
        notes.append(
            f"transformers has no reward head for {config.model_type}, and an adapter's folder brings no code of ours: "
            f"other tools cannot load it; {remedy}"
        )
    else:
        notes.append(
            f"an adapter's folder cannot tell other tools of pooling={pooling!r}: they would score its last "
            f"token; {remedy}"
        )


def _pooling_on_disk(base: str) -> object:
    """Return what the config of a base says of pooling; nothing where it does not, or cannot be read."""
    try:
        return read_config(base).get("reward_pooling")
    except CheckpointError:
        return None


def _head_name(model: PreTrainedModel) -> str:
    core = core_model(model)
    head = find_head(core)
    return next(name.split(".")[-1] for name, module in core.named_modules() if module is head)


@dataclass
class ModelConfig:
    """Which model, in which precision, with which adapter: TRL's flags, and a model from a config, which is ours."""

    model_name_or_path: str | None = option(None, "Model id or folder.")
    model_revision: str = option("main", "Branch, tag or commit of the model.", aliases=["--revision"])
    dtype: str | None = option(
        "float32", "Precision of the weights.", choices=["auto", "bfloat16", "float16", "float32"]
    )
    attn_implementation: str | None = option(None, "Attention of rows that do not share prefixes.")
    use_peft: bool = option(False, "Train a LoRA adapter and the reward head.")
    lora_r: int = option(16, "Rank of LoRA.")
    lora_alpha: int = option(32, "Alpha of LoRA.")
    lora_dropout: float = option(0.05, "Dropout of LoRA.")
    lora_target_modules: list[str] | None = option(None, "Modules that LoRA adapts.")
    lora_target_parameters: list[str] | None = option(None, "Parameters that LoRA adapts.")
    lora_modules_to_save: list[str] | None = option(None, "Modules trained and saved in full.")
    lora_task_type: str = option("SEQ_CLS", "Task type of LoRA; a reward model needs SEQ_CLS, or its head is lost.")
    use_rslora: bool = option(False, "Scale adapters by alpha / sqrt(r).")
    use_dora: bool = option(False, "Weight-decomposed LoRA.")
    load_in_8bit: bool = option(False, "Load the base model in 8 bits (LoRA only).")
    load_in_4bit: bool = option(False, "Load the base model in 4 bits (LoRA only).")
    bnb_4bit_quant_type: str = option("nf4", "4-bit type.", choices=["fp4", "nf4"])
    use_bnb_nested_quant: bool = option(False, "Quantise the quantisation constants too.")
    bnb_4bit_quant_storage: str | None = option(None, "Storage type of 4-bit weights.")
    from_config: str | None = option(None, "Random weights: a config.json or its folder, or tiny|small|base.")
    tokenizer_name_or_path: str | None = option(None, "Tokenizer of `from_config`; by default one is trained.")
    tokenizer_vocab_size: int = option(8000, "Vocabulary of a tokenizer that is trained on the spot.")

    def __post_init__(self) -> None:
        if self.load_in_8bit and self.load_in_4bit:
            raise ConfigError("load_in_8bit and load_in_4bit exclude each other; set one of them")
