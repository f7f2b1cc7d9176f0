"""Run the checks of a model: on a folder, alone or with data, or the fast ones on a model at hand."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.doctor.data_with_model import MODEL_DATA_CHECKS
from rewardsmith.doctor.files import CONTRACT_CHECKS, check_head_saved, local_folder
from rewardsmith.doctor.model import MODEL_CHECKS
from rewardsmith.doctor.running import Examination, one_line, run_checks
from rewardsmith.doctor.subject import Subject, encode
from rewardsmith.doctor.tokens import TOKEN_CHECKS
from rewardsmith.errors import RewardsmithError
from rewardsmith.findings import Finding
from rewardsmith.models.checkpoint import ADAPTER, LoadedModel, load_reward_model
from rewardsmith.models.contract import ScoringContract, read_contract
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.records import PreferenceGroup


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
    config = core.config.get_text_config()
    subject = Subject(core, tokenizer, config, renderer, contract, is_adapter=core is not model, rows=rows)
    return list(run_checks((*TOKEN_CHECKS, *MODEL_CHECKS), subject))


def _look(model: str | Path, groups: list[PreferenceGroup], how: Examination) -> Iterator[Finding]:
    """Check files, then tokens as the files have them, then the loaded model, then the data through it."""
    try:
        folder = local_folder(model)
        saved, has_head = check_head_saved(folder)
        yield saved
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=how.trust_remote_code)
        contract = read_contract(folder)
        config = _config(folder, tokenizer, how.trust_remote_code)
    except (RewardsmithError, OSError, ValueError) as error:
        yield Finding("red", "loading", one_line(error, 300), "point to a folder that training wrote")
        return
    renderer = Renderer(tokenizer, contract.policy() if contract else None)
    subject = Subject(
        None, tokenizer, config, renderer, contract, has_head, groups=groups, max_length=how.max_length, watch=how.watch
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
    if (folder / ADAPTER).is_file():
        name = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path") or folder
    config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code).get_text_config()
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
        message = "its own code computes the reward; checks of a linear head do not apply"
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
