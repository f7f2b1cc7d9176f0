"""LLaMA-Factory's `dataset_info.json`: which files hold ranking data, and what their columns and tags are called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewardsmith.errors import DataError, one_line
from rewardsmith.files.reading import read_rows
from rewardsmith.files.tables import OnBroken, Row

# LLaMA-Factory's name of a column -> the name that our reader of its rows knows.
ALPACA = {"prompt": "instruction", "query": "input", "history": "history"}
SHAREGPT = {"messages": "conversations"}
COMMON = {"chosen": "chosen", "rejected": "rejected", "system": "system", "tools": "tools"}
ROLE_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "assistant",
    "system_tag": "system",
}


def read_folder(folder: Path, split: str | None, on_broken: OnBroken | None) -> Iterator[Row] | None:
    """Read one data set of the folder's registry, its columns renamed; None where the folder has no registry.

    Raises:
        DataError: a broken registry, or several ranking sets and none named as `split`.
    """
    path = folder / "dataset_info.json"
    entries = _registry(path) if path.exists() and not (folder / "state.json").exists() else {}
    return _read_entry(folder, entries, split, on_broken) if entries else None


def _read_entry(
    folder: Path, entries: dict[str, dict[str, Any]], split: str | None, on_broken: OnBroken | None
) -> Iterator[Row]:
    if (split is None and len(entries) > 1) or (split is not None and split not in entries):
        raise DataError(f"{folder}: the registry holds the ranking sets {', '.join(entries)}; name one as split")
    entry = entries[split or next(iter(entries))]
    for where, row in read_rows(folder / entry["file_name"], on_broken=on_broken):
        yield where, rename_row(row, entry)


def _registry(path: Path) -> dict[str, dict[str, Any]]:
    """Return the ranking data sets of a dataset_info.json; none where it is not LLaMA-Factory's."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: broken JSON: {one_line(error)}") from error
    is_registry = isinstance(info, dict) and any(isinstance(v, dict) and "file_name" in v for v in info.values())
    return ranking_entries(info, path) if is_registry else {}


def ranking_entries(info: Any, path: Path) -> dict[str, dict[str, Any]]:
    """Give the entries of a registry that hold ranking data in local files. Raises DataError for a broken one."""
    if not isinstance(info, Mapping) or not all(isinstance(entry, Mapping) for entry in info.values()):
        raise DataError(f"{path.name}: a registry maps names to objects; see LLaMA-Factory's data/README")
    return {str(k): dict(v) for k, v in info.items() if v.get("ranking") and isinstance(v.get("file_name"), str)}


def rename_row(row: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row with the columns and tags that the reader of LLaMA-Factory's rows knows."""
    is_chat = entry.get("formatting", "alpaca") in ("sharegpt", "openai")
    known = {**(SHAREGPT if is_chat else ALPACA), **COMMON}
    columns = entry.get("columns") or {}
    names = {str(columns.get(theirs, ours)): ours for theirs, ours in known.items() if columns.get(theirs, ours)}
    renamed = {names.get(column, column): value for column, value in row.items()}
    tags = entry.get("tags")
    if is_chat and isinstance(tags, Mapping):
        for name in ("conversations", "chosen", "rejected"):
            value = renamed.get(name)
            renamed[name] = [_retag(v, tags) for v in value] if isinstance(value, list) else _retag(value, tags)
    return renamed


def _retag(turn: Any, tags: Mapping[str, Any]) -> Any:
    """Turn one message with a registry's own tags into `{"role", "content"}`; what is no message stays."""
    if not isinstance(turn, Mapping):
        return turn
    role = turn.get(str(tags.get("role_tag", "from")))
    roles = {str(tags[tag]): name for tag, name in ROLE_TAGS.items() if tag in tags}
    roles = {**{"human": "user", "gpt": "assistant"}, **roles}
    return {"role": roles.get(str(role), role), "content": turn.get(str(tags.get("content_tag", "value")))}
