"""Run the checks: on a folder and data, or the fast ones on a model at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from rewardsmith.data.loading import LoadReport, iter_preferences
from rewardsmith.doctor import data_with_model
from rewardsmith.doctor.behaviour import check_behaviour
from rewardsmith.doctor.contracts import check_contract
from rewardsmith.doctor.data import check_conversations, check_data, check_special_tokens
from rewardsmith.doctor.files import check_head_saved, local_folder
from rewardsmith.doctor.subject import Subject
from rewardsmith.doctor.tokens import check_tokens
from rewardsmith.doctor.weights import check_weights
from rewardsmith.errors import ConfigError, RewardsmithError
from rewardsmith.findings import Finding
from rewardsmith.models.checkpoint import ADAPTER, load_reward_model
from rewardsmith.models.contract import ScoringContract, read_contract
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.records import PreferenceGroup

MAX_GROUPS = 20_000


@dataclass(frozen=True, slots=True)
class Examination:
    """How to examine.

    Args:
        max_length: of the training run; None takes the contract's, then 1024.
        reading: arguments of `iter_preferences` for the data.
        trust_remote_code: allow models that bring Python code.
    """

    max_length: int | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False


def examine(model: str | Path | None = None, data: Any = None, how: Examination | None = None) -> list[Finding]:
    """Examine a checkpoint, preference data, or both together.

    Args:
        model: folder or hub id of a reward model, of an adapter, or of a language model still to be trained.
        data: what `load_preferences` takes.
        how: maximum length and how data is read.

    Raises:
        ConfigError: neither was given.
        DataError: the data cannot be opened at all.
    """
    how = how or Examination()
    if model is None and data is None:
        raise ConfigError("give a model, data, or both")
    findings: list[Finding] = []
    groups: list[PreferenceGroup] = []
    if data is not None:
        report = LoadReport()
        reading = {"limit": MAX_GROUPS, "on_error": "count", **how.reading, "report": report}
        groups = list(iter_preferences(data, **reading))
        findings += check_data(groups, report)
    return findings if model is None else [*_cleared(list(_examine_checkpoint(model, groups, how))), *findings]


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
    model: Any,
    tokenizer: Any,
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
    subject = Subject(core, tokenizer, core.config.get_text_config(), renderer, contract, is_adapter=core is not model)
    return [*check_tokens(subject), *check_weights(subject), *check_behaviour(subject, rows)]


def _examine_checkpoint(model: str | Path, groups: list[PreferenceGroup], how: Examination) -> Iterator[Finding]:
    """Check files, then tokens as the files have them, then the loaded model, then the data through it."""
    try:
        folder = local_folder(model)
        saved, has_head = check_head_saved(folder)
        yield saved
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=how.trust_remote_code)
        contract = read_contract(folder)
        config = _config(folder, tokenizer, how.trust_remote_code)
    except (RewardsmithError, OSError, ValueError) as error:
        yield Finding("red", "loading", " ".join(str(error).split())[:300], "point to a folder that training wrote")
        return
    renderer = Renderer(tokenizer, contract.policy() if contract else None)
    subject = Subject(None, tokenizer, config, renderer, contract, has_head)
    if not has_head or saved.level == "red":
        yield from check_tokens(subject)
    else:
        loaded = yield from _examine_loaded_checkpoint(folder, subject, groups, how)
        subject = loaded or subject
    if groups:
        yield from _check_data_through(subject, groups, how)


def _config(folder: Path, tokenizer: Any, trust_remote_code: bool) -> Any:
    """Read the text config; an adapter has its base's, and its pad token comes with the tokenizer."""
    name: str | Path = folder
    if (folder / ADAPTER).is_file():
        name = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path") or folder
    config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code).get_text_config()
    if name != folder:
        config.pad_token_id = tokenizer.pad_token_id
    return config


def _examine_loaded_checkpoint(folder: Path, subject: Subject, groups: list[PreferenceGroup], how: Examination) -> Any:
    """Load the model and check it; returns the subject with its model, or None when it cannot be loaded."""
    try:
        loaded = load_reward_model(folder, enforce=False, dtype="auto", trust_remote_code=how.trust_remote_code)
    except RewardsmithError as error:
        yield Finding("red", "loading", str(error), "see the finding above; save the model again")
        yield from check_tokens(subject)
        return None
    if _reads_its_own_way(loaded):
        message = "its own code computes the reward; checks of a linear head do not apply"
        yield Finding("green", "layout", message)
        yield from check_tokens(subject)
        return None
    core = core_model(loaded.model)
    findings = list(check_contract(loaded, core, subject.tokenizer))
    # Loading repairs the pad token for scoring; the checks must see what other tools will read.
    config = core.config.get_text_config()
    config.pad_token_id = getattr(subject.config, "pad_token_id", None)
    full = Subject(
        core, subject.tokenizer, config, subject.renderer, subject.contract, is_adapter=core is not loaded.model
    )
    rows = [ids[0] for _, ids in data_with_model.encode(full, groups[:8])[0]]
    yield from check_tokens(full)
    yield from check_weights(full)
    yield from check_behaviour(full, rows or None)
    yield from findings
    return full


def _reads_its_own_way(loaded: Any) -> bool:
    """Whether a foreign model's rewards come from its own code instead of a head that transformers applies."""
    imported = getattr(loaded, "imported", None)
    return imported is not None and (imported.reader is not None or imported.is_comparer)


def _check_data_through(subject: Subject, groups: list[PreferenceGroup], how: Examination) -> Iterator[Finding]:
    """Check the data as this tokenizer and model read it."""
    yield check_special_tokens(groups, subject.tokenizer)
    conversations = check_conversations(groups, subject.tokenizer)
    if conversations is not None:
        yield conversations
        return
    encoded, findings = data_with_model.encode(subject, data_with_model.evenly(groups, data_with_model.LENGTH_GROUPS))
    yield from findings
    if encoded:
        yield data_with_model.check_length_loss(subject, encoded, how.max_length)
        if subject.model is not None:
            yield from data_with_model.check_labels(subject, encoded)
