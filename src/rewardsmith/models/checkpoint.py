"""Save a reward model so that every tool that loads it gives one reward, and load it again."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.errors import CheckpointError, RewardsmithError, UsageError, missing_extra
from rewardsmith.models import contract as contracts
from rewardsmith.models import heads, wide_head
from rewardsmith.models.adapters import require_own_folder
from rewardsmith.models.attribute_head import attributes_of, install_attributes
from rewardsmith.models.contract import ScoringContract
from rewardsmith.models.foreign import loading
from rewardsmith.models.foreign.folder import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    load_tokenizer,
    names_in,
    nobody_asked,
    require_one_model,
)
from rewardsmith.models.foreign.imported import Imported, ImportOptions, TextRule
from rewardsmith.models.golden import RESTORE, golden_texts
from rewardsmith.models.rendering import Renderer, TextPolicy
from rewardsmith.models.shared_prefix.forward import core_model, has_token_head
from rewardsmith.models.shared_prefix.places import is_token_classifier
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.steps import LABELS, imported_step_model, open_step_classifier, renderer_of
from rewardsmith.models.templates import named_template
from rewardsmith.models.tokenizer import fix_date, pair_separator, prepare_tokenizer, take_template


@dataclass
class LoadedModel:
    """A checkpoint in memory: the model, its tokenizer, how it scores, and what there is to say about it.

    `imported` is how a model without a contract was recognised, and how one that judges steps is read; else None.
    `findings` is what the doctor said of a model without a contract.
    """

    model: Any
    tokenizer: Any
    renderer: Renderer
    contract: ScoringContract | None
    notes: list[str] = field(default_factory=list)
    imported: Imported | None = None
    findings: list[Any] = field(default_factory=list)


def prepare_config(core: Any, tokenizer: Any) -> None:
    """Write into the config what other tools read: the labels, raw scores, the pad token."""
    config, names = core.config, [one.name for one in attributes_of(core)] or ["LABEL_0"]
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if is_token_classifier(core):
        config.id2label, config.label2id = dict(LABELS), {label: number for number, label in LABELS.items()}
        return
    config.num_labels = len(names)
    config.id2label, config.label2id = dict(enumerate(names)), {name: row for row, name in enumerate(names)}
    # vLLM applies a sigmoid to one label unless the problem is called a regression.
    config.problem_type = "regression"
    # OpenRLHF looks for the head under this name.
    config.value_head_prefix = "score"


def complete_folder(folder: str | Path, core: PreTrainedModel, tokenizer: Any) -> None:
    """Write the tokenizer as every tool should use it, and the code of a pooled model, beside the weights.

    A decoder's rendered text holds its BOS and EOS, so its saved tokenizer adds nothing: a second BOS, the field's
    commonest silent error, cannot come up.
    """
    saved = copy.deepcopy(tokenizer)
    policy = TextPolicy.of(tokenizer)
    if policy.bos_text:
        _add_nothing(saved)
    saved.padding_side = "right"
    saved.save_pretrained(folder)
    heads.copy_code(folder, core)


def _add_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer add no special tokens by itself."""
    for name in ("add_bos_token", "add_eos_token"):
        if hasattr(tokenizer, name):
            setattr(tokenizer, name, False)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        from tokenizers.processors import Sequence

        backend.post_processor = Sequence([])


def write_contract(
    folder: str | Path,
    core: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fields: dict[str, Any],
    plan: ForwardPlan,
    *,
    verify: bool = True,
    policy: TextPolicy | None = None,
) -> ScoringContract:
    """Score the golden texts, write the contract, and check it in a fresh process.

    `policy` is the rule for plain texts; None reads it off the tokenizer.

    Raises:
        CheckpointError: the saved checkpoint gives other rewards than the model in memory.
    """
    renderer = renderer_of(tokenizer, policy, fields.get("steps"))
    contract = contracts.describe(core, tokenizer, renderer.policy, **fields)
    contract.golden = golden_texts(core, renderer, plan)
    contract.files = contracts.hash_reward_files(folder)
    contract.save(folder)
    if verify:
        verify_in_fresh_process(folder)
    return contract


def write_rule(folder: str | Path, core: PreTrainedModel, renderer: Renderer, fields: dict[str, Any]) -> None:
    """Write the contract of a checkpoint: how its rewards are computed, with no golden ones, which take a forward."""
    contracts.describe(core, renderer.tokenizer, renderer.policy, **fields).save(folder)


@contextmanager
def unrounded(model: nn.Module, is_cast: bool) -> Iterator[None]:
    """Give weights back as they were where a block casts the model, whose buffers then are other tensors."""
    kept = [tensor.detach().to("cpu", copy=True) for tensor in (*model.parameters(), *model.buffers()) if is_cast]
    try:
        yield
    finally:
        for tensor, value in zip((*model.parameters(), *model.buffers()), kept, strict=is_cast):
            tensor.data = value.to(tensor.device)


def save_reward_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    plan: ForwardPlan,
    *,
    verify: bool = True,
    **fields: Any,
) -> ScoringContract:
    """Save weights, config, tokenizer and contract; `fields` are further entries of the contract.

    Raises:
        ConfigError: an adapter is active that loaders would not find.
        CheckpointError: with `verify`, the folder gives other rewards than the model.
    """
    require_own_folder(model)
    core = core_model(model)
    prepare_config(core, tokenizer)
    Path(folder).mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    complete_folder(folder, core, tokenizer)
    return write_contract(folder, core, tokenizer, fields, plan, verify=verify)


def verify_in_fresh_process(
    folder: str | Path, timeout_seconds: float = 600, *, trust_remote_code: bool = False
) -> None:
    """Load the folder in a new Python process and compare the golden rewards.

    Raises:
        CheckpointError: they differ, or the folder cannot be loaded.
    """
    command = [sys.executable, "-m", "rewardsmith.models.verify", str(folder)]
    command += ["--trust-remote-code"] if trust_remote_code else []
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, env=environment)
    if result.returncode:
        reason = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()[-1]
        raise CheckpointError(f"{folder} was saved but does not give the rewards it was saved with: {reason}")


@nobody_asked()
def load_reward_model(
    path: str | Path,
    *,
    trust_remote_code: bool = False,
    enforce: bool = True,
    aggregate: str = "min",
    chat_template: str | None = None,
    **options: Any,
) -> LoadedModel:
    """Load a reward model, ours or foreign, with the rule by which it scores.

    Args:
        path: hub id or folder: a full model, or a LoRA adapter with its head.
        trust_remote_code: allow models that bring Python code; our own pooled models need no permission.
        enforce: refuse a checkpoint that does not match its contract.
        aggregate: how a step model's scores become one reward: "min", "product", "last" or "mean".
        chat_template: a Jinja file, "plain" or "chatml", for a model that was not trained on a template that it holds.
        options: further arguments of `from_pretrained`.

    Raises:
        CheckpointError: nothing can be loaded, or the contract is broken.
    """
    try:
        require_one_model(str(path))
        contract = contracts.read_contract(path)
        if contract is None:
            return _load_foreign(str(path), ImportOptions(trust_remote_code, aggregate, options), chat_template)
        loaded = _load_by_contract(path, contract, enforce, ImportOptions(trust_remote_code, aggregate, options))
        loaded.notes += take_template(loaded.tokenizer, core_model(loaded.model), chat_template, str(path))
        return loaded
    except (RewardsmithError, MemoryError):
        raise
    except Exception as error:
        # A folder is input: whatever a damaged or hostile one makes its readers raise is one line here.
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} cannot be loaded: {type(error).__name__}: {reason}") from error


def _load_by_contract(
    path: str | Path, contract: ScoringContract, enforce: bool, options: ImportOptions
) -> LoadedModel:
    """Load a model with a contract and hold it to that."""
    model, notes = _load_own(str(path), options.trust_remote_code, options.model, contract)
    tokenizer = load_tokenizer(path, options.trust_remote_code)
    core = core_model(model)
    core.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if enforce:
        contract.require_match(core, tokenizer)
    renderer = renderer_of(tokenizer, contract.policy(), contract.steps)
    imported = imported_step_model(model, renderer, options.aggregate)
    return LoadedModel(model, tokenizer, renderer, contract, notes, imported)


def _load_own(
    path: str, trust_remote_code: bool, options: dict[str, Any], contract: ScoringContract | None = None
) -> tuple[Any, list[str]]:
    if (Path(path) / ADAPTER).is_file():
        return _load_adapter(path, trust_remote_code, options, contract)
    if contract is not None and contract.steps:
        opened = open_step_classifier(path, trust_remote_code, options)
        opened.require_whole(path)
        return opened.model, heads.unused_note(path, opened.model, opened.unused)
    attributes = [] if contract is None else contract.attributes
    model, notes = heads.load_trained(path, trust_remote_code, options, len(attributes) or 1)
    if attributes and install_attributes(model, attributes):
        raise CheckpointError(f"{path} holds one row, its contract {len(attributes)} ratings; {RESTORE}")
    wide_head.load_heads(model, path, 1 if contract is None else contract.num_heads)
    return model, notes


def _load_foreign(path: str, options: ImportOptions, chat_template: str | None = None) -> LoadedModel:
    """Load a model without a contract by the importer of its layout, and state the rule that is used."""
    imported = loading.load_foreign(path, options)
    if imported is None:
        imported = _load_standard(path, options)
    tokenizer = load_tokenizer(path, options.trust_remote_code)
    tokenizer.chat_template = named_template(chat_template, tokenizer) if chat_template else tokenizer.chat_template
    if imported.reader is not None or imported.is_comparer:
        imported.notes += fix_date(tokenizer)
        policy = imported.text.policy(TextPolicy.of(tokenizer))
        return LoadedModel(imported.model, tokenizer, Renderer(tokenizer, policy), None, imported.notes, imported)
    core = core_model(imported.model)
    text = imported.text
    pad = core.config.get_text_config().pad_token_id if text.skips_padding else None
    # A pad token that also ends the texts has to stay: what is scored depends on it.
    if pad is None or pad != tokenizer.eos_token_id:
        imported.notes += prepare_tokenizer(tokenizer, core, end=text.end)
        pad = None
    policy = replace(text.policy(TextPolicy.of(tokenizer)), skipped_id=pad)
    if policy.closed_by_tokenizer and not getattr(core.config, "type_vocab_size", 0) > 1:
        # Without token types a pair is one text with a separator; encoders are trained on pairs.
        policy = replace(policy, pair_separator=pair_separator(tokenizer))
        if policy.pair_separator and not tokenizer.chat_template:
            text_rule = f"question and answer as the tokenizer's two texts, {policy.pair_separator} between them"
            imported.rule = replace(imported.rule, text=text_rule)
    if text.skips_padding:
        imported.rule, imported.reward_mean, imported.reward_std = loading.standard_rule(core.config, pad is not None)
    return LoadedModel(imported.model, tokenizer, Renderer(tokenizer, policy), None, imported.notes, imported)


def _load_standard(path: str, options: ImportOptions) -> Imported:
    """Load a sequence classifier, or an adapter of one, that has no contract."""
    model, notes = _load_own(path, options.trust_remote_code, options.model)
    core = core_model(model)
    rule, _, _ = loading.standard_rule(core.config, False)
    return Imported(model, rule, TextRule(skips_padding=has_token_head(core)), notes=notes)


def _load_adapter(
    path: str, trust_remote_code: bool, options: dict[str, Any], contract: ScoringContract | None
) -> tuple[Any, list[str]]:
    """Load base model and adapter; an adapter without the head would give random rewards and is refused.

    A plain base does not know how its adapter's head pools, so the contract says it.
    """
    try:
        from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    except ImportError as error:
        raise missing_extra("peft", "peft") from error
    adapter_config = PeftConfig.from_pretrained(path)
    base, pooling = adapter_config.base_model_name_or_path, "last" if contract is None else contract.pooling
    if not base:
        raise CheckpointError(f"{path}/{ADAPTER} names no base model; write its path into base_model_name_or_path")
    options = {**options, "revision": adapter_config.revision}
    if contract is not None and contract.steps:
        found = open_step_classifier(base, trust_remote_code, options)
    else:
        labels = 1 if contract is None else len(contract.attributes) or 1
        found = heads.open_classifier(base, pooling, trust_remote_code, options, labels)
    model = found.model
    if contract is not None and pooling != contracts.pooling_of(model):
        model = heads.to_pooled(model, pooling)
    if contract is not None and contract.attributes:
        install_attributes(model, contract.attributes)
    if contract is not None and contract.num_heads > 1:
        wide_head.install_heads(model, contract.num_heads)
    if found.has_new_head and not getattr(adapter_config, "modules_to_save", None):
        raise CheckpointError(
            f"{path} is an adapter without its reward head, and its base {base} has none: rewards would be random; "
            "train with task_type='SEQ_CLS'"
        )
    saved = set(getattr(adapter_config, "modules_to_save", None) or ())
    replace(found, missing=tuple(name for name in found.missing if not saved & {*name.split(".")})).require_whole(base)
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:  # type: ignore[operator]
        model.resize_token_embeddings(len(tokenizer))
    with heads.quiet_renames():
        adapted: Any = PeftModel.from_pretrained(model, path)
    stored = next((Path(path) / name for name in ADAPTER_WEIGHTS if (Path(path) / name).is_file()), None)
    taken = get_peft_model_state_dict(adapted, save_embedding_layers=True)  # else PEFT warns, and asks the hub
    unused = heads.unused_weights(name for name in names_in(stored) if name not in taken) if stored else ()
    return adapted, [*heads.unused_note(base, model, found.unused), *heads.unused_note(path, adapted, unused)]


def require_device(device: str | torch.device | None, dtype: str | torch.dtype | None = None) -> torch.device:
    """Return the device, by default a GPU where there is one.

    Raises:
        UsageError: it is not here, or no model computes in that precision.
    """
    if dtype not in (None, "auto"):
        found = getattr(torch, str(dtype).removeprefix("torch."), None)
        if not (isinstance(found, torch.dtype) and found.is_floating_point):
            raise UsageError(f"dtype {str(dtype)!r} is not known; give float32, bfloat16 or float16")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=place).tolist()
    except (RuntimeError, AssertionError) as error:
        here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        here += ["mps"] * torch.backends.mps.is_available()
        raise UsageError(f"device {str(device)!r} is not here; this machine has {', '.join(here)}") from error
    return torch.device(place)
