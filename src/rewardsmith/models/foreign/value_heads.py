"""Layouts of a backbone with a linear value head: TRL, LLaMA-Factory, DeepSpeed-Chat, OpenRLHF, Open-Assistant.

All are put into transformers' sequence classifier, so each is scored, shared by prefix and saved like every other
reward model, and its head is never drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, GPTNeoXConfig

from rewardsmith.errors import CheckpointError, missing_extra
from rewardsmith.models.foreign.folder import Folder, load_tokenizer
from rewardsmith.models.foreign.imported import Imported, ImportOptions, Layout, ScoringRule, TextRule
from rewardsmith.models.heads import quiet_loading, to_pooled, unused_note, unused_weights
from rewardsmith.models.templates import control_tokens, template_marks
from rewardsmith.models.tokenizer import IN_EOS, TemplateEnd


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
    beside = [name for name in folder.head_files if name not in (head.weight, head.bias)]
    unused = unused_weights(key for key in (*info["unexpected_keys"], *beside) if key not in ("mean", "std"))
    return model, unused_note(str(folder.path), model, unused)


def base_of(folder: Folder) -> str:
    """Name where the backbone's config lies: the folder, or the base model of an adapter."""
    if not folder.is_adapter or folder.config:
        return str(folder.path)
    return _adapter_base(folder)[0]


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


def _adapter_base(folder: Folder) -> tuple[str, str | None]:
    """Return the name of an adapter's base model, and its revision where the adapter says one."""
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    found = PeftConfig.from_pretrained(str(folder.path))
    base: str | None = found.base_model_name_or_path
    if not base:
        raise CheckpointError(f"{folder.path} names no base model; write its path into base_model_name_or_path")
    return base, found.revision


def _merged_weights(folder: Folder, options: ImportOptions) -> dict[str, Tensor]:
    """Merge a LoRA adapter of a language model into its base and give the weights."""
    base, revision = _adapter_base(folder)
    from peft import PeftModel

    with quiet_loading():
        language_model = AutoModelForCausalLM.from_pretrained(
            base, revision=revision, dtype=torch.float32, trust_remote_code=options.trust_remote_code
        )
        merged: Any = PeftModel.from_pretrained(language_model, str(folder.path)).merge_and_unload()  # type: ignore[operator]
    return merged.state_dict()


TRL_HEAD = LinearHead("v_head.summary.weight", "v_head.summary.bias")
EOS_TEXT = "the chat template, made to end in EOS; plain text is prompt plus completion plus EOS"


def _is_trl_head(folder: Folder) -> bool:
    """Whether the head stands among the weights."""
    return TRL_HEAD.weight in folder.files


def _load_trl_head(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing."""
    rule = ScoringRule("TRL value head", "the last token, by the linear value head with its bias", EOS_TEXT)
    head = TRL_HEAD if TRL_HEAD.bias in folder.files else LinearHead(TRL_HEAD.weight)
    model, notes = build_classifier(folder, head, options)
    return Imported(model, rule, TextRule(IN_EOS), notes=notes)


TRL = Layout("v_head.summary.weight and .bias beside a language model (TRL)", _is_trl_head, _load_trl_head)


LLAMAFACTORY_TEXT = "the chat template as it is, a newline at its end included{eos}; plain text as it is"
# Its template of this family writes EOS after the newline that the family's own template ends in.
EOS_AFTER_TURN = ("gemma2",)


def _is_llamafactory(folder: Folder) -> bool:
    """Whether the head stands in a file of its own."""
    return TRL_HEAD.weight in folder.head_files


def _load_llamafactory(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head; an adapter is merged into its base. Raises CheckpointError when weights are missing."""
    merged = ", its LoRA adapter merged" if folder.is_adapter else ""
    end = _template_end(folder, options)
    text = LLAMAFACTORY_TEXT.format(eos=", then EOS" if end else "")
    rule = ScoringRule(
        f"LLaMA-Factory value head{merged}", "the last token, by the linear value head with its bias", text
    )
    head = TRL_HEAD if TRL_HEAD.bias in folder.head_files else LinearHead(TRL_HEAD.weight)
    model, notes = build_classifier(folder, head, options)
    return Imported(model, rule, TextRule(end, is_plain_closed=False, has_bos=False), notes=notes)


def _template_end(folder: Folder, options: ImportOptions) -> TemplateEnd | None:
    """Say where its trainer put EOS after the template (`efficient_eos` in llamafactory/data/template.py).

    It does so for templates whose answer ends in no control token, and scores the last token of what comes out
    (data/processor/pairwise.py, train/rm/trainer.py); elsewhere the template's own end is scored, newline and all.
    """
    tokenizer = load_tokenizer(folder.path, options.trust_remote_code)
    marks = template_marks(tokenizer)
    if marks is None:
        return None
    is_open = not any(token in marks.end for token in control_tokens(tokenizer))
    config = folder.config.get("model_type")
    return TemplateEnd(strip="") if is_open or config in EOS_AFTER_TURN else None


LLAMAFACTORY = Layout(
    "value_head.safetensors or value_head.bin beside a language model or its LoRA adapter (LLaMA-Factory)",
    _is_llamafactory,
    _load_llamafactory,
)


# Forks correct the spelling.
BACKBONES = ("rwtranrsformer.", "rwtransformer.")
DEEPSPEED_HEAD = "v_head.weight"


def _is_deepspeed_chat(folder: Folder) -> bool:
    """Whether the backbone has the prefix and the head is there."""
    return DEEPSPEED_HEAD in folder.files and any(name.startswith(BACKBONES) for name in folder.files)


def _load_deepspeed_chat(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing."""
    bias = "v_head.bias" if "v_head.bias" in folder.files else ""
    model, notes = build_classifier(folder, LinearHead(DEEPSPEED_HEAD, bias), options, rename=_standard_name)
    rule = ScoringRule("DeepSpeed-Chat", "the last token, by the linear head v_head")
    return Imported(model, rule, notes=notes)


def _standard_name(name: str, prefix: str) -> str:
    found = next((start for start in BACKBONES if name.startswith(start)), "")
    return f"{prefix}.{name[len(found) :]}" if found else name


DEEPSPEED_CHAT = Layout(
    "v_head.weight beside a backbone under rwtranrsformer (DeepSpeed-Chat)", _is_deepspeed_chat, _load_deepspeed_chat
)


HEADS = ("score", "value_head", "reward_head", "regression_head", "score_head")
# Heads of other tools that are laid out alike.
OTHERS = ("reward_head", "regression_head", "score_head")
OPENRLHF_TEXT = "chat template or plain text, without newlines at its end; where EOS lacks, a blank and EOS follow"
# openrlhf/datasets/reward_dataset.py: rstrip("\n"), then " " + EOS unless it is there; no special tokens are added.
CLOSED = TextRule(TemplateEnd("\n", " "), has_bos=False, eos_gap=" ", strips_end="\n")


def _is_openrlhf(folder: Folder) -> bool:
    """Whether a head of such a name stands among the weights of a backbone."""
    return bool(_head_name(folder)) and not folder.config.get("auto_map")


def _load_openrlhf(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing."""
    prefix = _head_name(folder)
    bias = f"{prefix}.bias" if f"{prefix}.bias" in folder.files else ""
    mean, std = statistics(folder)
    model, notes = build_classifier(folder, LinearHead(f"{prefix}.weight", bias), options)
    reward = "raw" if std is None else f"raw; normalized=True gives (raw - {mean:.6g}) / {std:.6g}"
    own = prefix in OTHERS and not folder.config.get("value_head_prefix")
    rule = ScoringRule(
        "OpenRLHF", f"the last token, by the linear head {prefix}", EOS_TEXT if own else OPENRLHF_TEXT, reward
    )
    return Imported(model, rule, TextRule(IN_EOS) if own else CLOSED, mean, std, notes=notes)


def statistics(folder: Folder) -> tuple[float | None, float | None]:
    """Return the mean and standard deviation that training wrote into the config, or as buffers; None without them."""
    if "mean" in folder.config and folder.config.get("std"):
        return float(folder.config["mean"]), float(folder.config["std"])
    if "mean" in folder.files and "std" in folder.files:
        found = folder.read(["mean", "std"])
        return float(found["mean"].reshape(-1)[0]), float(found["std"].reshape(-1)[0])
    return None, None


def _head_name(folder: Folder) -> str:
    named = folder.config.get("value_head_prefix")
    names = (str(named),) if named else HEADS
    return next((name for name in names if f"{name}.weight" in folder.files), "")


OPENRLHF = Layout(
    (
        "a linear head named by value_head_prefix, or score, value_head, reward_head, regression_head, score_head "
        "(OpenRLHF, UltraRM, Safe-RLHF)"
    ),
    _is_openrlhf,
    _load_openrlhf,
)


OUT_PROJ = LinearHead("out_proj.weight", "out_proj.bias")


def _is_openassistant(folder: Folder) -> bool:
    """Whether the config or the weights are of this class."""
    named = folder.config.get("model_type") == "gpt_neox_reward_model" or folder.architecture == "GPTNeoXRewardModel"
    return named or (OUT_PROJ.weight in folder.files and any(name.startswith("gpt_neox.") for name in folder.files))


def _load_openassistant(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing or the pooling is not known."""
    if OUT_PROJ.weight not in folder.files:
        raise CheckpointError(f"{folder.path} has no reward head {OUT_PROJ.weight}; rewards would be random")
    pooling = folder.config.get("pooling") or "last"
    if pooling not in ("last", "mean"):
        raise CheckpointError(f"{folder.path}: pooling {pooling!r} is not known; Open-Assistant has last and mean")
    values = {
        key: value for key, value in folder.config.items() if key not in ("model_type", "pooling", "architectures")
    }
    head = OUT_PROJ if OUT_PROJ.bias in folder.files else LinearHead(OUT_PROJ.weight)
    model, notes = build_classifier(folder, head, options, GPTNeoXConfig(**values))
    if pooling == "mean":
        linear = model.score
        model = to_pooled(model, "mean")
        model.score = linear
    scored = "the last token" if pooling == "last" else "the mean of all tokens"
    text = "plain text in Open-Assistant's markup (<|prompter|>...<|endoftext|><|assistant|>...) plus EOS"
    return Imported(
        model, ScoringRule("Open-Assistant", f"{scored}, by the linear head out_proj with its bias", text), notes=notes
    )


OPENASSISTANT = Layout("GPTNeoXRewardModel with out_proj (Open-Assistant)", _is_openassistant, _load_openassistant)
