"""The model that the flags of `rewardsmith train` describe: an id, a config, an adapter, a quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardsmith.cli.train_arguments import ModelConfig
from rewardsmith.errors import ConfigError, missing_extra
from rewardsmith.models import fresh_model
from rewardsmith.records import PreferenceGroup
from rewardsmith.training import RewardConfig


def trainer_model(model: ModelConfig, config: RewardConfig, train: Sequence[PreferenceGroup]) -> dict[str, Any]:
    """Give the trainer's arguments `model`, `processing_class`, `peft_config` and `quantization_config`.

    Raises:
        ConfigError: no model was named, or one that does not exist.
    """
    parts: dict[str, Any] = {"peft_config": peft_config(model), "quantization_config": quantization_config(model)}
    if model.from_config:
        if model.model_name_or_path:
            raise ConfigError("model_name_or_path and from_config exclude each other; set one of them")
        if model.use_peft:
            raise ConfigError(
                "an adapter needs a base that can be loaded again, and from_config makes one that is nowhere: drop "
                "use_peft, or name a saved model as model_name_or_path"
            )
        tokenizer = _tokenizer(model, train)
        options = {"attn_implementation": model.attn_implementation, "dtype": model.dtype}
        given = {name: value for name, value in options.items() if value not in (None, "auto")}
        parts["model"] = fresh_model.build_model(model.from_config, tokenizer, config.seed, config.head_init, **given)
        return {**parts, "processing_class": tokenizer}
    if not model.model_name_or_path:
        raise ConfigError("no model: set --model_name_or_path to an id or a folder, or --from_config to start fresh")
    _require_folder(model.model_name_or_path)
    options = {"revision": model.model_revision, "dtype": model.dtype, **_given(config)}
    if model.attn_implementation:
        options["attn_implementation"] = model.attn_implementation
    config.model_init_kwargs = options
    return {**parts, "model": model.model_name_or_path, "processing_class": _named_tokenizer(model)}


def peft_config(model: ModelConfig) -> Any:
    """Give the LoRA configuration, or None without `use_peft`."""
    if not model.use_peft:
        return None
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    targets = model.lora_target_modules
    settings: dict[str, Any] = {
        "r": model.lora_r,
        "lora_alpha": model.lora_alpha,
        "lora_dropout": model.lora_dropout,
        "target_modules": targets[0] if targets and len(targets) == 1 else targets,
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


def quantization_config(model: ModelConfig) -> Any:
    """Give the bitsandbytes configuration, or None. Raises MissingExtraError without bitsandbytes."""
    if not (model.load_in_4bit or model.load_in_8bit):
        return None
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


def _tokenizer(model: ModelConfig, train: Sequence[PreferenceGroup]) -> Any:
    return _named_tokenizer(model) or fresh_model.train_tokenizer(
        fresh_model.texts_of(train), model.tokenizer_vocab_size
    )


def _named_tokenizer(model: ModelConfig) -> Any:
    name = model.tokenizer_name_or_path
    return fresh_model.load_tokenizer(name) if name else None


def _given(config: RewardConfig) -> dict[str, Any]:
    given = config.model_init_kwargs
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"model_init_kwargs must be a JSON object, not {given!r}")
    return dict(given or {})


def _require_folder(name: str) -> None:
    """Refuse what is plainly a path and does not exist, before anybody asks the hub for it."""
    path = Path(name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local and not path.is_dir():
        raise ConfigError(f"model folder {name!r} does not exist; check --model_name_or_path")
    if path.is_dir() and not any((path / f).is_file() for f in ("config.json", "adapter_config.json")):
        raise ConfigError(f"model folder {name!r} has no config.json; it does not hold a model")
