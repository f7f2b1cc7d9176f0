"""From a model, or the flags that name one, to a model and a tokenizer that are ready to train."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.utils import DynamoBackend
from datasets import Dataset
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from rewardsmith.errors import ConfigError
from rewardsmith.files.tables import looks_local, split_revision
from rewardsmith.models import fresh_model, heads
from rewardsmith.models.adapters import require_own_folder
from rewardsmith.models.compiling import Work, compile_layers
from rewardsmith.models.foreign.folder import named_revision, nobody_asked, why_not
from rewardsmith.models.shared_prefix.exactness import disable_dropout, fixed_positions
from rewardsmith.models.shared_prefix.forward import core_model, has_token_head, reward_head
from rewardsmith.models.shared_prefix.places import is_token_classifier
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.steps import build_step_model, load_step_classifier
from rewardsmith.models.templates import BUILT_IN, named_template
from rewardsmith.models.tokenizer import prepare_tokenizer, require_vocabulary
from rewardsmith.records import PreferenceGroup
from rewardsmith.training import adapter
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.config import RewardConfig, automatic_learning_rate
from rewardsmith.training.encoding import token_costs
from rewardsmith.training.heads import install_heads_of_run
from rewardsmith.training.precision import require_precision
from rewardsmith.training.steps.settings import STEPS

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)
# What some families do to their logits beside the product with the embeddings.
LOGIT_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass
class Parts:
    """A model and its tokenizer, ready to train, and what was done to them."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    notes: list[str] = field(default_factory=list)


def default_output_dir(model: object) -> str:
    """Return `<model name>-Reward`, as TRL does."""
    name = model if isinstance(model, str) else getattr(core_model(model).config, "_name_or_path", "") or "model"
    return f"{Path(split_revision(name)[0]).name}-Reward"


@nobody_asked()
def prepare(model: Any, args: RewardConfig, tokenizer: Any, quantization_config: object, peft_config: object) -> Parts:
    """Load or check the model, prepare the tokenizer, wrap the adapter and choose the learning rate."""
    if not isinstance(args, RewardConfig):
        theirs = f"{type(args).__module__.split('.')[0]}.{type(args).__name__}"
        raise ConfigError(f"args must be a rewardsmith.RewardConfig, not {theirs}: import it from rewardsmith")
    set_seed(args.seed)  # before the model is loaded: a new head is random
    notes, options = list[str](), _init_kwargs(args)
    if isinstance(model, str):
        name = adapter.merged_start(_take_revision(model, options), peft_config, args, notes)
        model, said = _load(name, args, options, quantization_config)
        notes += said
    else:
        _require_labels(model, args)
        name = getattr(core_model(model).config, "_name_or_path", "")
        args.trust_remote_code |= heads.brings_code(core_model(model))
        if options:
            notes.append("model_init_kwargs is ignored: the model is already loaded")
        if quantization_config is not None:
            notes.append("quantization_config is ignored: the model is already loaded")
        if args.pooling != getattr(core_model(model).config, "reward_pooling", "last"):
            model, said = heads.with_pooling(model, args.pooling, args.head_init)
            notes += said
    has_adapter = peft_config is not None or hasattr(model, "peft_config")
    if args.freeze_backbone and has_adapter:
        raise ConfigError("freeze_backbone trains the head alone, an adapter more than that: leave one of them out")
    if args.head == "mlp" and has_adapter:
        raise ConfigError("head='mlp' goes without an adapter, whose folder cannot say which head it has")
    if args.head == "mlp":
        model, said = heads.with_hidden_layer(model, args.head_width, args.head_init)
        notes += said
    core = core_model(model)
    _require_one_stack(core)
    install_heads_of_run(core, args, notes)
    if tokenizer is None or isinstance(tokenizer, str):
        tokenizer = _load_tokenizer(tokenizer or name, args, None if tokenizer else options.get("revision"))
    require_vocabulary(tokenizer, name)
    pad_on_disk = core.config.get_text_config().pad_token_id
    new_tokens = _apply_special_tokens(core, tokenizer, args)
    notes += prepare_tokenizer(tokenizer, core)
    if peft_config is not None:
        model = adapter.wrap_adapter(model, peft_config, notes, new_tokens)
    elif has_adapter:
        require_own_folder(model)
        adapter.note_untrained_head(model, notes)
    if has_adapter:
        adapter.note_what_others_miss(core.config, pad_on_disk, tokenizer.pad_token_id, notes)
        if args.gradient_checkpointing:
            # Checkpointed layers of a frozen base would have no gradients otherwise.
            model.enable_input_require_grads()
    if args.freeze_backbone:
        model.requires_grad_(False)
        reward_head(core).requires_grad_(True)
    _require_token_head(core, args)
    if args.disable_dropout:
        disable_dropout(model)
    if args.learning_rate == "auto":
        parameters = sum(p.numel() for p in model.parameters())
        args.learning_rate = automatic_learning_rate(parameters, has_adapter)
        notes.append(f"learning_rate='auto' chose {args.learning_rate:g} for {parameters / 1e6:.1f}M parameters")
    return Parts(model, tokenizer, notes)


def _take_revision(name: str, options: dict[str, Any]) -> str:
    """Return a model's name without its revision, which goes into the options of loading. Raises CheckpointError."""
    name, revision = named_revision(name, options.get("revision"))
    options |= {"revision": revision} if revision else {}
    return name


def _load(
    name: str, args: RewardConfig, options: Mapping[str, Any], quantization_config: object
) -> tuple[nn.Module, list[str]]:
    """Load the model of an id or path with `model_init_kwargs`."""
    options = dict(options)
    if quantization_config is not None:
        if "quantization_config" in options:
            raise ConfigError("quantization_config is set twice: as an argument and in model_init_kwargs")
        options["quantization_config"] = quantization_config
    labels, wanted = options.pop("num_labels", None), _num_labels(args)
    if labels not in (None, wanted):
        raise ConfigError(f"model_init_kwargs says num_labels={labels}, a reward model has {wanted}; leave it out")
    # Every later load, of the tokenizer and of a template, is allowed what the model's is.
    args.trust_remote_code = bool(options.pop("trust_remote_code", args.trust_remote_code))
    if args.loss_type == STEPS:
        return load_step_classifier(name, args.head_init, args.trust_remote_code, options)
    return heads.load_sequence_classifier(
        name,
        pooling=args.pooling,
        head_init=args.head_init,
        trust_remote_code=args.trust_remote_code,
        num_labels=wanted,
        **options,
    )


def _require_one_stack(core: PreTrainedModel) -> None:
    if core.config.is_encoder_decoder:
        raise ConfigError(
            f"{type(core).__name__} is an encoder with a decoder: its reward depends on how the decoder is fed, which "
            "no folder says; take a decoder (Qwen, Llama, ...) or an encoder (BERT, DeBERTa, ...)"
        )


def _require_token_head(core: PreTrainedModel, args: RewardConfig) -> None:
    """Refuse a language-model loss where the classifier does not hold the weights that predict tokens."""
    if not args.lm_loss_coefficient:
        return
    config, name = core.config.get_text_config(), type(core).__name__
    scaled = [key for key in LOGIT_SCALES if getattr(config, key, None) not in (None, 1, 1.0)]
    if not has_token_head(core) or not getattr(config, "is_causal", True):
        reason = f"{name} is not a decoder"
    elif not config.tie_word_embeddings:
        reason = f"{name} has a token head of its own (tie_word_embeddings: false), which a reward model does not keep"
    elif scaled:
        reason = f"{name} scales its logits ({scaled[0]})"
    else:
        return
    raise ConfigError(f"lm_loss_coefficient has no token head to read: {reason}; set it to 0, or take another model")


def log_plan(plan: ForwardPlan, notes: list[str]) -> None:
    """Say once how rewards are computed and what was changed."""
    for note in notes:
        logger.warning("%s", note)
    if plan.way == "packed":
        logger.info("shared prefixes are computed once, packed; rewards and gradients equal those of separate rows")
    elif plan.way == "forked":
        logger.info("shared prefixes are computed once, over a forked cache, as packing is not exact: %s", plan.reason)
    else:
        logger.warning(
            "prefixes are not shared (%s); distinct rows, sorted by length, are computed instead", plan.reason
        )


def compile_model(trainer: RewardTrainer) -> None:
    """Compile the layers where the settings say so, and say what was done."""
    args, plugin = trainer.args, trainer.accelerator.state.dynamo_plugin
    if plugin.backend != DynamoBackend.NO:
        # What `accelerate launch --dynamo_backend` asks for would be the model as a whole, anew for every layout.
        args.compile, plugin.backend = "on", DynamoBackend.NO
    if args.compile == "off":
        return
    by = {"FSDP": trainer.is_fsdp_enabled, "DeepSpeed": trainer.is_deepspeed_enabled, "DataParallel": args.n_gpu > 1}
    others = [name for name, is_on in by.items() if is_on]
    if others:
        logger.warning("layers are not compiled: %s takes them apart", others[0])
        return
    work = Work(_tokens_of_run(trainer) if args.compile == "auto" else 0, trains=True)
    said = compile_layers(trainer.model, args.compile, work, forked=trainer.plan.way == "forked")
    logger.log(logging.WARNING if args.compile == "on" and "not compiled" in said else logging.INFO, "%s", said)


def _tokens_of_run(trainer: RewardTrainer) -> float:
    """Return about how many distinct tokens a process computes in training; 0 for a stream, whose end nobody knows."""
    args, rows = trainer.args, trainer.train_dataset
    if not isinstance(rows, Dataset) or "ids" not in rows.column_names:
        return 0.0
    tokens = sum(token_costs(rows, trainer.plan.cost))
    if args.max_steps <= 0:
        return tokens * args.num_train_epochs / args.world_size
    batch = args.tokens_per_batch or tokens / max(1, len(rows)) * args.train_batch_size
    return float(args.max_steps * args.gradient_accumulation_steps * batch)


def num_embeddings(model: nn.Module) -> int | None:
    """Return how many token ids the model knows; None where its embedding does not say."""
    return getattr(core_model(model).get_input_embeddings(), "num_embeddings", None)


def length_limit(args: RewardConfig, model: nn.Module) -> int | None:
    """Return the longest sequence that is trained on: `max_length`, or what a model with a table of positions reads."""
    positions = fixed_positions(core_model(model).config.get_text_config())
    if positions is None or (args.max_length is not None and args.max_length <= positions):
        return args.max_length
    logger.warning(
        "max_length is %s, the model reads %d tokens: %d is the limit", args.max_length, positions, positions
    )
    return positions


def activation_offloading(args: RewardConfig) -> Callable[[], contextlib.AbstractContextManager]:
    """Return the context in which a training step runs."""
    if not args.activation_offloading:
        return contextlib.nullcontext
    from torch.autograd.graph import save_on_cpu

    return lambda: save_on_cpu(pin_memory=args.device.type == "cuda")


def _init_kwargs(args: RewardConfig) -> dict[str, Any]:
    require_precision(args)
    given = args.model_init_kwargs or {}
    try:
        read = json.loads(given) if isinstance(given, str) else given
    except json.JSONDecodeError as error:
        raise ConfigError(f"model_init_kwargs must be a JSON object, not {given!r} ({error})") from error
    if not isinstance(read, Mapping):
        raise ConfigError(f"model_init_kwargs must be a mapping of names to values, not {read!r}")
    return dict(read)


def _num_labels(args: RewardConfig) -> int:
    return 2 if args.loss_type == STEPS else len(args.attributes or ()) or 1


def _require_labels(model: PreTrainedModel, args: RewardConfig) -> None:
    """Refuse a model of another kind than the labels need."""
    core = core_model(model)
    judges_steps, labels = args.loss_type == STEPS, getattr(core.config, "num_labels", None)
    allowed = {_num_labels(args)} if judges_steps else {1, _num_labels(args)}
    if is_token_classifier(core) != judges_steps or labels not in allowed:
        kind = "AutoModelForTokenClassification" if judges_steps else "AutoModelForSequenceClassification"
        raise ConfigError(
            f"the model is a {type(core).__name__} with num_labels={labels}, {'step' if judges_steps else 'reward'} "
            f"models require `num_labels={1 + judges_steps}`: load it with {kind}.from_pretrained(..., "
            f"num_labels={1 + judges_steps})"
        )


def _load_tokenizer(name: str, args: RewardConfig, revision: str | None) -> Any:
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=args.trust_remote_code)
    except (OSError, ValueError) as error:
        said = f"no tokenizer could be loaded for {name!r}; pass it as processing_class ({why_not(error)})"
        raise ConfigError(said) from error


def _apply_special_tokens(core: Any, tokenizer: Any, args: RewardConfig) -> list[int]:
    """Take the EOS token, pad token and chat template that the config names; return the ids of tokens that are new."""
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
        return []
    if Path(path).is_file() or path in BUILT_IN:
        tokenizer.chat_template = named_template(path, tokenizer)
        return []
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
    if source.eos_token in tokenizer.get_vocab():
        # The template ends turns in the EOS of its own tokenizer.
        tokenizer.eos_token = source.eos_token
        core.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    return list(tokenizer.convert_tokens_to_ids(missing))


def named_model(
    model: ModelConfig, config: RewardConfig, train: Callable[[], Sequence[PreferenceGroup]]
) -> dict[str, Any]:
    """Return the trainer's arguments `model`, `processing_class` and, where asked for, `peft_config` and
    `quantization_config`.

    Raises:
        ConfigError: no model was named, or one that does not exist.
    """
    parts: dict[str, Any] = {}
    if model.use_peft:
        parts["peft_config"] = adapter.peft_config(model)
    if model.load_in_4bit or model.load_in_8bit:
        parts["quantization_config"] = adapter.quantization_config(model)
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
        build = build_step_model if config.loss_type == STEPS else fresh_model.build_model
        parts["model"] = build(model.from_config, tokenizer, config.seed, config.head_init, **given)
        # Random weights have no token head yet; that of the loss on chosen texts is the embeddings.
        parts["model"].config.tie_word_embeddings |= bool(config.lm_loss_coefficient)
        return {**parts, "processing_class": tokenizer}
    if not model.model_name_or_path:
        raise ConfigError("no model: set --model_name_or_path to an id or a folder, or --from_config to start fresh")
    _require_folder(model.model_name_or_path)
    options = {"revision": model.model_revision, "dtype": model.dtype, **_given(config)}
    if model.attn_implementation:
        options["attn_implementation"] = model.attn_implementation
    config.model_init_kwargs = options
    return {**parts, "model": model.model_name_or_path, "processing_class": _named_tokenizer(model)}


def _tokenizer(model: ModelConfig, train: Callable[[], Sequence[PreferenceGroup]]) -> Any:
    return _named_tokenizer(model) or fresh_model.train_tokenizer(
        fresh_model.texts_of(train()), model.tokenizer_vocab_size
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
    if looks_local(name) and not path.is_dir():
        raise ConfigError(f"model folder {name!r} does not exist; check --model_name_or_path")
    if path.is_dir() and not any((path / f).is_file() for f in ("config.json", "adapter_config.json")):
        raise ConfigError(f"model folder {name!r} has no config.json; it does not hold a model")
