"""What a checkpoint's files hold: is the reward head among the weights, and does the contract describe them?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rewardsmith.doctor.running import one_line
from rewardsmith.doctor.subject import Subject
from rewardsmith.errors import CheckpointError, RewardsmithError
from rewardsmith.findings import Finding
from rewardsmith.models.checkpoint import ADAPTER, golden_difference
from rewardsmith.models.contract import FILE_NAME
from rewardsmith.models.heads import HEAD_NAMES

FULL = ("model.safetensors", "pytorch_model.bin", "value_head.safetensors", "value_head.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Heads of other tools' layouts; whether such a checkpoint can be loaded, loading says.
OTHER_HEADS = ("v_head", "value_head", "reward_head", "regression_layer", "rank_head", "out_proj", "lm_head_reward")
# Architectures of reward models that are no sequence classifiers.
OWN_KINDS = ("Reward", "TokenClassification", "Ranker", "Comparer")
PATTERNS = ["*.json", "*.safetensors", "*.bin", "*.jinja", "*.model", "*.txt"]


def local_folder(path: str | Path) -> Path:
    """Return the folder of a checkpoint; a hub id is fetched. Raises CheckpointError."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.exists() or str(path).count("/") != 1 or str(path).startswith((".", "/", "~")):
        raise CheckpointError(f"{path}: no such folder, and not a hub id like 'owner/name'")
    from transformers.utils import cached_file

    try:
        found = cached_file(str(path), "config.json", _raise_exceptions_for_missing_entries=False)
        found = found or cached_file(str(path), ADAPTER)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no such folder, and the hub cannot give it: {one_line(error, 200)}") from error
    return _fetch(str(path), Path(str(found)).parent)


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
    import torch

    return set(torch.load(path, map_location="meta", weights_only=True, mmap=True))


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}; save the model again") from error


def _fetch(name: str, known: Path) -> Path:
    """Fetch the rest of a hub model; what is in the cache already is not asked for."""
    if any((known / file).exists() for file in (*FULL, *INDEXES, *ADAPTER_WEIGHTS)):
        return known
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: the hub cannot give its weights: {one_line(error, 200)}") from error


CONTRACT_CHECKS = (check_contract,)
