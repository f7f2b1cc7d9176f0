"""The folder of an ensemble of whole models: a list of its members, which are folders inside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rewardsmith.errors import CheckpointError, one_line
from rewardsmith.files.writing import write_json

ENSEMBLE_FILE = "ensemble.json"


def write_members(folder: Path, names: Sequence[str]) -> None:
    """Write which folders inside `folder` answer together."""
    write_json(folder / ENSEMBLE_FILE, {"members": list(names)})


def member_folders(path: str) -> list[str]:
    """Return the members of an ensemble that stands in one folder; the path itself for what is one model.

    Raises:
        CheckpointError: a member is missing, or the list cannot be read.
    """
    listed = Path(path) / ENSEMBLE_FILE
    if not listed.is_file():
        return [path]
    try:
        names = [str(name) for name in json.loads(listed.read_text(encoding="utf-8"))["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{listed} cannot be read: {one_line(error)}; train again") from error
    missing = [name for name in names if Path(name).name != name or not (Path(path) / name).is_dir()]
    if missing or len(names) < 2:
        raise CheckpointError(
            f"{listed} names {', '.join(missing) or names}, which is not there; copy the folder again"
        )
    return [str(Path(path) / name) for name in names]


def require_one_model(path: str) -> None:
    """Refuse the folder of an ensemble where one model is wanted. Raises CheckpointError."""
    if len(members := member_folders(path)) > 1:
        raise CheckpointError(f"{path} is an ensemble of {len(members)} models; name one of them, as {members[0]}")
