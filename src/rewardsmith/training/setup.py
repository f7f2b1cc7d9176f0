"""Prepare what a user passes to the trainer: model, tokenizer, adapter, tokenised rows."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import AutoTokenizer, set_seed

from rewardsmith.errors import ConfigError, missing_extra
from rewardsmith.models import heads, rendering
from rewardsmith.models.shared_prefix.forward import ForwardPlan, core_model
from rewardsmith.models.shared_prefix.sharing import fixed_positions
from rewardsmith.training.collator import LengthSampler
from rewardsmith.training.config import RewardConfig, automatic_learning_rate
from rewardsmith.training.encoding import Encoder
from rewardsmith.training.preparation import FEATURES, prepare_dataset, token_costs

logger = logging.getLogger(__name__)

HEAD_NAMES = ("score", "classifier")


@dataclass
class Parts:
    """A model and its tokenizer, ready to train, and what was done to them."""

    model: nn.Module
    tokenizer: Any
    notes: list[str] = field(default_factory=list)


def default_output_dir(model: Any) -> str:
    """Give `<model name>-Reward`, as TRL does."""
    name = model if isinstance(model, str) else getattr(core_model(model).config, "_name_or_path", "") or "model"
    return f"{Path(name).name}-Reward"


def prepare(model: Any, args: RewardConfig, tokenizer: Any, quantization_config: Any, peft_config: Any) -> Parts:
    """Load or check the model, prepare the tokenizer, wrap the adapter and choose the learning rate."""
    if not isinstance(args, RewardConfig):
        theirs = f"{type(args).__module__.split('.')[0]}.{type(args).__name__}"
        raise ConfigError(f"args must be a rewardsmith.RewardConfig, not {theirs}: import it from rewardsmith")
    # A new head is random, so the seed is set before the model is loaded.
    set_seed(args.seed)
    notes: list[str] = []
    options = _init_kwargs(args)
    if isinstance(model, str):
        if quantization_config is not None:
            if "quantization_config" in options:
                raise ConfigError("quantization_config is set twice: as an argument and in model_init_kwargs")
            options["quantization_config"] = quantization_config
        name = model
        model, loaded_notes = heads.load_sequence_classifier(
            name, pooling=args.pooling, head_init=args.head_init, trust_remote_code=args.trust_remote_code, **options
        )
        notes += loaded_notes
    else:
        _require_one_label(model)
        name = getattr(core_model(model).config, "_name_or_path", "")
        if options:
            notes.append("model_init_kwargs is ignored: the model is already loaded")
        if quantization_config is not None:
            notes.append("quantization_config is ignored: the model is already loaded")
        if args.pooling != getattr(core_model(model).config, "reward_pooling", "last"):
            model, pooled_notes = heads.with_pooling(model, args.pooling, args.head_init)
            notes += pooled_notes
    if tokenizer is None:
        tokenizer = _load_tokenizer(name, args, options.get("revision"))
    _require_vocabulary(tokenizer, name)
    core = core_model(model)
    pad_on_disk = core.config.get_text_config().pad_token_id
    _apply_special_tokens(core, tokenizer, args)
    notes += rendering.prepare_tokenizer(tokenizer, core)
    model = _wrap_adapter(model, args, peft_config, notes)
    if hasattr(model, "peft_config") and pad_on_disk != tokenizer.pad_token_id:
        before = "no pad token" if pad_on_disk is None else f"pad token {pad_on_disk}"
        notes.append(
            f"the adapter's base model names {before}, this run takes {tokenizer.pad_token_id}: tools that do not read "
            "the scoring contract score the adapter folder wrongly; give them the merged model "
            "(rewardsmith export FOLDER MERGED)"
        )
    if args.disable_dropout:
        _disable_dropout(model)
    if args.learning_rate == "auto":
        parameters = sum(p.numel() for p in model.parameters())
        args.learning_rate = automatic_learning_rate(parameters, hasattr(model, "peft_config"))
        notes.append(f"learning_rate='auto' chose {args.learning_rate:g} for {parameters / 1e6:.1f}M parameters")
    return Parts(model, tokenizer, notes)


def log_plan(plan: ForwardPlan, notes: list[str]) -> None:
    """Say once how rewards are computed and what was changed."""
    for note in notes:
        logger.warning("%s", note)
    if plan.share:
        logger.info("shared prefixes are computed once; rewards and gradients equal those of separate rows")
    else:
        logger.warning(
            "prefixes are not shared (%s); distinct rows, sorted by length, are computed instead", plan.reason
        )


def num_embeddings(model: nn.Module) -> int | None:
    """Give how many token ids the model knows; None where its embedding does not say."""
    return getattr(core_model(model).get_input_embeddings(), "num_embeddings", None)


def length_sampler(dataset: Any, plan: ForwardPlan, args: RewardConfig) -> LengthSampler:
    """Give rows of like length to each step, for `train_sampling_strategy="group_by_length"`."""
    seed = args.data_seed if args.data_seed is not None else args.seed
    rows_per_step = args.train_batch_size * args.gradient_accumulation_steps
    return LengthSampler(token_costs(dataset, plan.cost), rows_per_step, seed)


def length_limit(args: RewardConfig, model: nn.Module) -> int | None:
    """Give the longest sequence that is trained on: `max_length`, or what a model with a table of positions reads."""
    positions = fixed_positions(core_model(model).config.get_text_config())
    if positions is None or (args.max_length is not None and args.max_length <= positions):
        return args.max_length
    logger.warning(
        "max_length is %s, the model reads %d tokens: %d is the limit", args.max_length, positions, positions
    )
    return positions


def encoded_columns() -> list[str]:
    """Give the columns that our collator reads."""
    return list(FEATURES)


def tokenised_pairs(dataset: Any, encoder: Encoder, name: str) -> Any:
    """Give rows with `chosen_ids`, `rejected_ids` and `margin`, one a comparison, for a collator of TRL's form."""
    if isinstance(dataset, Dataset) and {"chosen_ids", "rejected_ids"} <= set(dataset.column_names):
        return dataset
    encoded, _ = prepare_dataset(dataset, encoder, name)
    rows = []
    for group in encoded:
        for better, worse, margin in zip(group["better"], group["worse"], group["margin"], strict=True):
            rows.append({"chosen_ids": group["ids"][better], "rejected_ids": group["ids"][worse], "margin": margin})
    return Dataset.from_list(rows)


def tie_share(dataset: Any) -> float:
    """Give the share of ties among the comparisons, where a tie model's threshold starts; 0.1 for a stream."""
    if not isinstance(dataset, Dataset) or "is_tie" not in dataset.column_names:
        return 0.1
    ties = [tie for group in dataset["is_tie"] for tie in group]
    return sum(ties) / max(1, len(ties))


def activation_offloading(args: RewardConfig) -> Callable[[], contextlib.AbstractContextManager]:
    """Give the context in which a training step runs."""
    if not args.activation_offloading:
        return contextlib.nullcontext
    from torch.autograd.graph import save_on_cpu

    return lambda: save_on_cpu(pin_memory=args.device.type == "cuda")


def _init_kwargs(args: RewardConfig) -> dict[str, Any]:
    given = args.model_init_kwargs or {}
    try:
        read = json.loads(given) if isinstance(given, str) else given
    except json.JSONDecodeError as error:
        raise ConfigError(f"model_init_kwargs must be a JSON object, not {given!r} ({error})") from error
    if not isinstance(read, Mapping):
        raise ConfigError(f"model_init_kwargs must be a mapping of names to values, not {read!r}")
    return dict(read)


def _require_vocabulary(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer without a vocabulary: transformers makes one, silently, where the files are missing."""
    if not tokenizer("Good day.", add_special_tokens=False)["input_ids"]:
        raise ConfigError(
            f"the tokenizer of {name!r} makes no tokens of a text; are its files (tokenizer.json) missing? Copy them "
            "there, or pass another as processing_class"
        )


def _require_one_label(model: Any) -> None:
    labels = getattr(core_model(model).config, "num_labels", None)
    if labels != 1:
        raise ConfigError(
            f"the model has num_labels={labels}, a reward model has 1: load it with "
            "AutoModelForSequenceClassification.from_pretrained(..., num_labels=1)"
        )


def _load_tokenizer(name: str, args: RewardConfig, revision: str | None) -> Any:
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=args.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no tokenizer could be loaded for {name!r}; pass it as processing_class ({error})"
        ) from error


def _apply_special_tokens(core: Any, tokenizer: Any, args: RewardConfig) -> None:
    """Take the EOS token, pad token and chat template that the config names."""
    vocabulary = tokenizer.get_vocab()
    for setting, value in (("eos_token", args.eos_token), ("pad_token", args.pad_token)):
        if value is None:
            continue
        if value not in vocabulary:
            raise ConfigError(f"{setting} {value!r} is not in the tokenizer's vocabulary; name one that is")
        setattr(tokenizer, setting, value)
    if args.eos_token is not None:
        core.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    path = args.chat_template_path
    if path is None:
        return
    if Path(path).is_file():
        tokenizer.chat_template = Path(path).read_text(encoding="utf-8")
        return
    try:
        source = AutoTokenizer.from_pretrained(path, trust_remote_code=args.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(f"chat_template_path {path!r} is neither a Jinja file nor a tokenizer; name one") from error
    missing = [str(t) for t in source.added_tokens_decoder.values() if str(t) not in vocabulary]
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
        if len(tokenizer) > core.get_input_embeddings().num_embeddings:
            core.resize_token_embeddings(len(tokenizer))
    tokenizer.chat_template = source.chat_template


def _wrap_adapter(model: Any, args: RewardConfig, peft_config: Any, notes: list[str]) -> Any:
    """Wrap the model in an adapter that trains and saves the reward head; TRL saves a random head unless told."""
    if peft_config is None:
        if hasattr(model, "peft_config"):
            _prepare_checkpointed_adapter(model, args)
            _require_trained_head(model, notes)
        return model
    try:
        from peft import PeftConfig, get_peft_model
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    if not isinstance(peft_config, PeftConfig):
        raise ConfigError(f"peft_config must be a peft.PeftConfig such as LoraConfig, not {type(peft_config).__name__}")
    if hasattr(model, "peft_config"):
        raise ConfigError("the model already has an adapter; merge it first, or leave peft_config unset")
    head = next(name for name in HEAD_NAMES if hasattr(core_model(model), name))
    kept = list(getattr(peft_config, "modules_to_save", None) or [])
    if str(getattr(peft_config.task_type, "value", peft_config.task_type)) != "SEQ_CLS" and head not in kept:
        notes.append(f"the adapter gets task_type='SEQ_CLS', so that the reward head '{head}' is trained and saved")
        peft_config.task_type = "SEQ_CLS"
    missing = [name for name in kept if not any(n.split(".")[-1] == name for n, _ in model.named_modules())]
    if missing:
        raise ConfigError(f"modules_to_save names {', '.join(missing)}; the model has no such module")
    try:
        model = get_peft_model(model, peft_config)
    except (ValueError, TypeError) as error:
        known = sorted({n.split(".")[-1] for n, module in model.named_modules() if isinstance(module, nn.Linear)})
        raise ConfigError(
            f"the adapter does not fit the model: {error}; its linear layers are {', '.join(known)}"
        ) from error
    _prepare_checkpointed_adapter(model, args)
    return model


def _prepare_checkpointed_adapter(model: Any, args: RewardConfig) -> None:
    """Give the embeddings gradients: checkpointed layers of a frozen base would otherwise have none."""
    if args.gradient_checkpointing:
        model.enable_input_require_grads()


def _require_trained_head(model: Any, notes: list[str]) -> None:
    head = next((getattr(core_model(model), n) for n in HEAD_NAMES if hasattr(core_model(model), n)), None)
    if head is not None and not any(p.requires_grad for p in head.parameters()):
        notes.append(
            "the adapter does not train the reward head: it stays as it is and is not saved with the adapter; "
            "build it with task_type='SEQ_CLS' or modules_to_save=['score']"
        )


def _disable_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]
