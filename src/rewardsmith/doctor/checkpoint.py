"""The checks of a checkpoint: what its files hold; all of them on a folder, or the fast ones on a model at hand."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.doctor.data_with_model import MODEL_DATA_CHECKS
from rewardsmith.doctor.model import MODEL_CHECKS, check_finite_weights
from rewardsmith.doctor.subject import Examination, Subject, encode, run_checks
from rewardsmith.doctor.tokens import TOKEN_CHECKS, check_vocabulary
from rewardsmith.errors import CheckpointError, RewardsmithError, one_line
from rewardsmith.findings import Finding
from rewardsmith.models.checkpoint import LoadedModel, load_reward_model
from rewardsmith.models.contract import FILE_NAME, ScoringContract, read_contract
from rewardsmith.models.foreign.folder import ADAPTER, ADAPTER_WEIGHTS, fetch, named_revision, nobody_asked, why_not
from rewardsmith.models.golden import golden_difference
from rewardsmith.models.heads import HEAD_NAMES
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.records import PreferenceGroup
from rewardsmith.stats.ties import TIE_MODELS

FULL = ("model.safetensors", "pytorch_model.bin", "value_head.safetensors", "value_head.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# Heads of other tools' layouts; whether such a checkpoint can be loaded, loading says.
OTHER_HEADS = ("v_head", "value_head", "reward_head", "regression_layer", "rank_head", "out_proj", "lm_head_reward")
# Architectures of reward models that are no sequence classifiers.
OWN_KINDS = ("Reward", "TokenClassification", "Ranker", "Comparer")


def folder_of(path: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint; a hub id is fetched. Raises CheckpointError."""
    name, revision = named_revision(str(path), revision)
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{path}: no such folder, and not a hub id like 'owner/name'")
    return fetch(name, revision)


def stored_names(folder: Path, files: Iterable[str] = FULL) -> set[str] | None:
    """Name the tensors in a folder's weight files; None when it has none of them. Raises CheckpointError."""
    names: set[str] = set()
    found = False
    try:
        for index in INDEXES if files == FULL else ():
            if (folder / index).is_file():
                found = True
                names |= set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"])
        for name in files:
            if (folder / name).is_file():
                found = True
                names |= _names_in(folder / name)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the weights cannot be read: {one_line(error, 200)}; save them again"
        ) from error
    return names if found else None


def head_names(names: Iterable[str]) -> list[str]:
    """Return the names of a reward head's own weights, LoRA updates of it left out."""
    heads = {*HEAD_NAMES, *OTHER_HEADS}
    return sorted(name for name in names if heads & set(name.split(".")) and ".lora_" not in name)


def check_head_saved(folder: Path) -> tuple[Finding, bool]:
    """Find a checkpoint whose head is not among its weights; also give whether there is a head."""
    if (folder / ADAPTER).is_file():
        return check_adapter(folder)
    names = stored_names(folder)
    if names is None:
        raise CheckpointError(f"{folder} holds no weights; point to the folder that training wrote")
    heads = head_names(names)
    if heads:
        return Finding("green", "head saved", f"the weights hold {heads[0]}"), True
    settings = _read_json(folder / "config.json")
    architectures = settings.get("architectures") or ["a model"]
    if "ForSequenceClassification" in architectures[0]:
        message = f"the config says {architectures[0]}, but the weights hold no head: every load draws a random one"
        return Finding(
            "red", "head saved", message, "save the whole model with its head; train again if it is lost"
        ), True
    if settings.get("auto_map") or any(word in architectures[0] for word in OWN_KINDS):
        return Finding(
            "green", "head saved", f"{architectures[0]} keeps its head in its own way; loading checks it"
        ), True
    message = f"{architectures[0]} without a reward head: training draws a new one; rewards before would be random"
    return Finding("yellow", "head saved", message, "train it first; never give it to a tool as a reward model"), False


def check_adapter(folder: Path) -> tuple[Finding, bool]:
    """Find a LoRA adapter that was saved without the head that was trained (or stayed random) beside it."""
    settings = _read_json(folder / ADAPTER)
    names = stored_names(folder, ADAPTER_WEIGHTS)
    name = "head saved"
    if names is None:
        raise CheckpointError(f"{folder} holds no adapter weights; point to the folder that training wrote")
    heads = head_names(names)
    if heads:
        return Finding("green", name, f"the adapter holds {heads[0]}"), True
    base = str(settings.get("base_model_name_or_path") or "")
    in_base = head_names(stored_names(Path(base)) or ()) if Path(base).is_dir() else []
    asked = [module for module in settings.get("modules_to_save") or [] if module in HEAD_NAMES]
    if in_base and not asked:
        message = f"the adapter holds no head; that of its base ({in_base[0]}) is used and was not trained with it"
        return Finding("green", name, message), True
    on_head = any({*HEAD_NAMES} & set(key.split(".")) for key in names)
    how = "LoRA was put on the head, and the head itself" if on_head else "the head"
    message = f"{how} is not in the adapter (task_type {settings.get('task_type')!r}): every load draws a random one"
    remedy = 'train with task_type="SEQ_CLS" or modules_to_save=["score"]; the trained head is lost'
    return Finding("red", name, message, remedy), True


def check_contract(subject: Subject) -> Iterator[Finding]:
    """Look at the scoring contract: is it there, does it describe these files, are its rewards reproduced?"""
    if subject.loaded is None:
        return
    contract = subject.loaded.contract
    if contract is None:
        message = f"there is no {FILE_NAME}: nothing says how the rewards were meant to be computed"
        yield Finding("yellow", "contract", message, "write one with `rewardsmith export`")
        return
    try:
        contract.require_match(subject.model, subject.tokenizer)
    except RewardsmithError as error:
        yield Finding("red", "contract", str(error), "restore the file, or export the model again")
        return
    yield Finding("green", "contract", "model, tokenizer and template are those it was written for")
    try:
        largest, allowed = golden_difference(subject.loaded)
    except RewardsmithError as error:
        yield Finding("red", "golden rewards", str(error), "restore the files, or save the model again")
        return
    message = f"{len(contract.golden)} golden rewards differ by {largest:.1e} at most, allowed {allowed:.1e}"
    if largest <= allowed:
        yield Finding("green", "golden rewards", message)
    else:
        yield Finding("red", "golden rewards", message, "the weights are not those that were saved: restore them")


def _names_in(path: Path) -> set[str]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            return set(file.keys())

    return set(torch.load(path, map_location="meta", weights_only=True, mmap=True))


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}; save the model again") from error


def check_ties(subject: Subject) -> Iterator[Finding]:
    """Look at the threshold of ties: is it that of training, or was it fitted on held-out judgements?"""
    contract = None if subject.loaded is None else subject.loaded.contract
    if contract is None:
        return
    learned = contract.objective.get("loss_type")
    if contract.tie_model is not None:
        message = f"threshold {contract.tie_threshold:.3g} of {contract.tie_model} and temperature "
        yield Finding("green", "ties", f"{message}{contract.temperature:.3g} were fitted on held-out judgements")
    elif learned in TIE_MODELS and contract.objective.get("threshold") is not None:
        message = f"the threshold of {learned} is as training left it: P(tie) may be far from the share of ties"
        remedy = "rewardsmith evaluate MODEL DATA --save-temperature, on held-out judgements with ties"
        yield Finding("yellow", "ties", message, remedy)


CONTRACT_CHECKS = (check_contract, check_ties)


def examine_checkpoint(model: str | Path, groups: list[PreferenceGroup], how: Examination) -> list[Finding]:
    """Examine a checkpoint, and the data through it."""
    return _cleared(list(_look(model, groups, how)))


def _cleared(findings: list[Finding]) -> list[Finding]:
    """Clear a head that only looks untrained where the data shows that its rewards agree with people."""
    agrees = [f for f in findings if f.check == "agreement with labels"]
    if not agrees or any(f.level != "green" for f in agrees):
        return findings
    note = "its weights look as an initialiser draws them, but its rewards agree with the labels"
    return [
        Finding("green", f.check, note) if f.check == "head trained" and f.level == "yellow" else f for f in findings
    ]


def examine_loaded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contract: ScoringContract | None = None,
    rows: Sequence[Sequence[int]] | None = None,
) -> list[Finding]:
    """Examine a reward model and tokenizer in memory; seconds, nothing is loaded and nothing is changed.

    Args:
        model: a sequence classifier, also inside PEFT.
        tokenizer: as it will be used.
        contract: of the checkpoint, when it has one.
        rows: token ids of real sequences for the behaviour checks; None takes the golden texts.
    """
    core = core_model(model)
    renderer = Renderer(tokenizer, contract.policy() if contract else None)
    config = core.config.get_text_config()
    subject = Subject(core, tokenizer, config, renderer, contract, is_adapter=core is not model, rows=rows)
    return list(run_checks((*TOKEN_CHECKS, *MODEL_CHECKS), subject))


def _look(model: str | Path, groups: list[PreferenceGroup], how: Examination) -> Iterator[Finding]:
    """Check files, then tokens as the files have them, then the loaded model, then the data through it."""
    try:
        folder = folder_of(model, how.revision)
        saved, has_head = check_head_saved(folder)
        yield saved
        with nobody_asked():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=how.trust_remote_code)
            contract = read_contract(folder)
            config = _config(folder, tokenizer, how.trust_remote_code)
    except (RewardsmithError, OSError, ValueError) as error:
        yield Finding("red", "loading", one_line(why_not(error), 300), "point to a folder that training wrote")
        return
    renderer = Renderer(tokenizer, contract.policy() if contract else None)
    subject = Subject(
        None,
        tokenizer,
        config,
        renderer,
        contract,
        has_head,
        groups=groups,
        max_length=how.max_length,
        watch=how.watch,
        tokens_per_batch=how.tokens_per_batch,
        truncate_prompt=how.truncate_prompt,
    )
    if has_head and saved.level != "red":
        subject = yield from _load(folder, subject, how)
    of_contract = list(run_checks(CONTRACT_CHECKS, subject))
    subject = _as_saved(subject)
    yield from run_checks(TOKEN_CHECKS, subject)
    if subject.model is not None:
        yield from run_checks(MODEL_CHECKS, subject)
    yield from of_contract
    if groups:
        yield from run_checks(MODEL_DATA_CHECKS, subject)


def _config(folder: Path, tokenizer: PreTrainedTokenizerBase, trust_remote_code: bool) -> Any:
    """Read the text config; an adapter has its base's, and its pad token comes with the tokenizer."""
    name: str | Path = folder
    settings = _read_json(folder / ADAPTER) if (folder / ADAPTER).is_file() else {}
    name, revision = settings.get("base_model_name_or_path") or folder, settings.get("revision")
    config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code).get_text_config()
    if name != folder:
        config.pad_token_id = tokenizer.pad_token_id
    return config


def _load(folder: Path, subject: Subject, how: Examination) -> Generator[Finding, None, Subject]:
    """Load the model into the subject; say so where it cannot be loaded, or computes rewards in its own way."""
    try:
        loaded = load_reward_model(
            folder, enforce=False, dtype=how.dtype or "auto", trust_remote_code=how.trust_remote_code
        )
        if how.device is not None:
            loaded.model = loaded.model.to(how.device)
    except RewardsmithError as error:
        yield Finding("red", "loading", str(error), "see the finding above; save the model again")
        return subject
    if _reads_its_own_way(loaded):
        how_read = "its steps are scored" if loaded.renderer.reads_steps else "its own code computes the reward"
        message = f"{how_read}; checks of a linear head do not apply"
        yield Finding("green", "layout", message)
        return subject
    core = core_model(loaded.model)
    rows = [group.ids[0] for group in encode(subject.renderer, subject.groups[:8]).groups] or None
    return replace(subject, model=core, is_adapter=core is not loaded.model, loaded=loaded, rows=rows)


def _as_saved(subject: Subject) -> Subject:
    """Undo what loading repairs: the checks must see the pad token that other tools will read."""
    if subject.model is None:
        return subject
    config = subject.model.config.get_text_config()
    config.pad_token_id = getattr(subject.config, "pad_token_id", None)
    return replace(subject, config=config)


def _reads_its_own_way(loaded: LoadedModel) -> bool:
    """Whether a foreign model's rewards come from its own code instead of a head that transformers applies."""
    imported = getattr(loaded, "imported", None)
    return imported is not None and (imported.reader is not None or imported.is_comparer)


def examine_foreign(loaded: LoadedModel) -> list[Finding]:
    """Run the doctor's fast checks on a model at hand.

    Of a model whose own code computes the reward, only weights and vocabulary are looked at: the other checks are of a
    linear head as transformers applies it.
    """
    if not _reads_its_own_way(loaded):
        training = loaded.model.training
        loaded.model.eval()
        try:
            return examine_loaded(loaded.model, loaded.tokenizer, loaded.contract)
        finally:
            loaded.model.train(training)
    config = loaded.model.config.get_text_config()
    subject = Subject(loaded.model, loaded.tokenizer, config, loaded.renderer)
    # Foreign code may not say where its embeddings are; the config does.
    return [check_finite_weights(subject), check_vocabulary(replace(subject, model=None))]
