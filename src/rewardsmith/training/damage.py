"""Whether a checkpoint is whole: the digests of its files, and files that say nothing a run could go on with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME

# What the objective has learned and counted; the model's own files do not hold it.
OBJECTIVE = "objective.json"
# Which data, model and settings a checkpoint belongs to, and the digest of each of its files.
IDENTITY, CHECKSUMS = "identity.json", "checksums.json"


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a checkpoint but that of the digests themselves, by relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    found = {}
    for path in files:
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def damage(folder: str | Path) -> str | None:
    """Return what is wrong with a checkpoint, naming the file; None for a whole one."""
    folder = Path(folder)
    if not (folder / CHECKSUMS).exists():
        # Of another trainer or an earlier release: PyTorch's archives hold sums of their own.
        return (
            f"{CHECKSUMS} is missing" if (folder / IDENTITY).exists() else _damaged_archive(folder) or _misread(folder)
        )
    expected = _read_object(folder / CHECKSUMS)
    if expected is None or IDENTITY not in expected:
        return f"{CHECKSUMS} cannot be read"
    found = checksums(folder)
    for name, digest in expected.items():
        if found.get(name) != digest:
            return f"{name} is {'missing' if name not in found else 'not what was written'}"
    return _misread(folder, has_trainer=TRAINER_STATE_NAME in expected)


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _misread(folder: Path, has_trainer: bool = True) -> str | None:
    """Name a file of JSON that says nothing a run could go on with, whatever its digest.

    Runs without transformers' Trainer, such as RAFT's, keep no state of it.
    """
    if has_trainer and not (folder / TRAINER_STATE_NAME).is_file():
        return f"{TRAINER_STATE_NAME} is missing"
    for name in (TRAINER_STATE_NAME, IDENTITY, OBJECTIVE):
        held = _read_object(folder / name) if (folder / name).exists() else {}
        if held is None or not isinstance(held.get("settings", {}), dict):
            return f"{name} cannot be read"
    state = _read_object(folder / TRAINER_STATE_NAME) or {}
    if has_trainer and any(
        type(state.get(name)) is not int or state[name] < 0 for name in ("global_step", "max_steps")
    ):
        return f"{TRAINER_STATE_NAME} names no step"
    return None


def _damaged_archive(folder: Path) -> str | None:
    for path in sorted(path for path in folder.glob("*.*") if path.suffix in (".pt", ".pth", ".bin")):
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except (OSError, ValueError, zipfile.BadZipFile):
            # Before PyTorch 1.6 they were no archives.
            broken = path.name if path.read_bytes().startswith(b"PK") else None
        if broken is not None:
            return f"{path.name} is not whole"
    return None
