"""The folder that Potato exports: `annotations.*` with the answers, which name items, and a file with the items.

The items are `items.parquet` of its Parquet export, or the project's own data file put beside `annotations.jsonl`.
Flat exports (CSV, TSV, Parquet) have one column an answer, such as `preference.selection`; they are nested again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.data.formats.potato import ANSWERS
from rewardsmith.errors import DataError
from rewardsmith.files.reading import data_files, read_rows
from rewardsmith.files.tables import OnBroken, Row

Read = Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]
IDS = ("item_id", "id", "instance_id")
NO_ITEMS = ("annotations", "spans", "phase_responses", "annotation_changes", "typing_dynamics")


def read_folder(folder: Path, split: str | None, on_broken: OnBroken | None) -> Iterator[Row] | None:
    """Read an export's answers, joined with their items; None where the folder is none."""
    if any((folder / name).exists() for name in ("dataset_dict.json", "state.json")):
        return None
    exported = find_export(data_files(folder), read_rows)
    return None if exported is None else join_export(*exported, lambda path: read_rows(path, on_broken=on_broken))


def find_export(files: list[Path], read: Read) -> tuple[Path, list[Path]] | None:
    """Give the file of the answers and those of the items, when the files of a folder are an export of Potato."""
    answers = [path for path in files if path.name.split(".")[0] == "annotations"]
    items = [path for path in files if path.name.split(".")[0] not in NO_ITEMS]
    if len(answers) != 1 or not items:
        return None
    try:
        first = next(iter(islice(read(answers[0]), 1)), ("", {}))[1]
    except DataError:
        return None
    return (answers[0], items) if {"instance_id", "user_id"} <= set(first) else None


def join_export(answers: Path, items: list[Path], read: Read) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every answer with its item; memory holds the items. An answer to an unknown item comes without one."""
    known = {_name_of(row): row for path in items for _, row in read(path)}
    for where, row in read(answers):
        item = known.get(str(row.get("instance_id")), {})
        texts = {name: _decoded(value) for name, value in item.items() if name not in IDS}
        yield where, {**texts, **_nested(row)}


def _name_of(item: Mapping[str, Any]) -> str:
    return str(next((item[name] for name in IDS if name in item), ""))


def _decoded(value: Any) -> Any:
    """Read a list that the Parquet export holds as JSON text."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, list) else value


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give an answer with `labels`, scheme to answer, also where they stand in columns of their own."""
    if "labels" in row:
        return dict(row)
    labels: dict[str, dict[str, Any]] = {}
    for column, value in row.items():
        scheme, _, answer = column.rpartition(".")
        if answer in ANSWERS and scheme and value not in (None, ""):
            labels.setdefault(scheme, {})[answer] = value
    return {"instance_id": row.get("instance_id"), "user_id": row.get("user_id"), "labels": labels}
