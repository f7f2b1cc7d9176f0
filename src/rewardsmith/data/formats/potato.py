"""Potato's annotations joined with their items: one judgement of one annotator a row.

Potato stores `labels` (scheme to answer) apart from the items. A row here holds both: `instance_id`, `user_id`,
`labels`, and the item's own fields, which are a list of two or more texts, or `left` and `right`, and perhaps a
prompt. Pairwise answers are `{"selection": "A" | "B" | "tie"}` or, on a scale, `{"scale_value": -3..3}`, where
values below 0 prefer the left item and the distance from 0 is the margin. Rankings are `{"rank_order": "B,D=A,C"}`,
best first, `=` between equals.
The folder that Potato exports has `annotations.*` with the answers, which name items, and a file with the items:
`items.parquet` of its Parquet export, or the project's own data file put beside `annotations.jsonl`. Flat exports (CSV,
TSV, Parquet) have one column an answer, such as `preference.selection`; they are nested again.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.data.formats.cells import check_mapping, check_number, require
from rewardsmith.data.formats.format import Format
from rewardsmith.data.formats.pairs import group_fields, join_prompt
from rewardsmith.data.formats.rankings import ranked_comparisons
from rewardsmith.errors import DataError, describe, not_annotated, row_error
from rewardsmith.files.reading import data_files, read_rows
from rewardsmith.files.tables import OnBroken, Row
from rewardsmith.records import Comparison, PreferenceGroup

ANSWERS = ("selection", "scale_value", "rank_order")
PROMPTS = ("prompt", "question", "instruction", "context")
COLUMNS = {"instance_id", "user_id", "labels", "spans", "links", "left", "right", *PROMPTS}
Read = Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]
IDS = ("item_id", "id", "instance_id")
# Files of an export that hold no items.
NO_ITEMS = ("annotations", "spans", "phase_responses", "annotation_changes", "typing_dynamics")


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one judgement; every scheme that compares gives one comparison."""
    names, sides = _sides(row, where)
    labels = check_mapping(require(row, "labels", where), where, "labels")
    annotator = None if row.get("user_id") is None else str(row["user_id"])
    answers = [(scheme, value) for scheme, value in labels.items() if isinstance(value, Mapping)]
    comparisons = [edge for scheme, value in answers for edge in _compare(value, len(sides), where, scheme, annotator)]
    prompt = next((row[name] for name in PROMPTS if row.get(name) is not None), None)
    joined, completions = join_prompt(prompt, sides, where, "prompt", names)
    fields = group_fields(row, where, COLUMNS | {name.split("[")[0] for name in names})
    others = {scheme: value for scheme, value in labels.items() if not _compares(value)}
    if others:
        fields["metadata"] = {**fields.get("metadata", {}), "other_labels": others}
    fields = {"group_id": str(require(row, "instance_id", where)), **fields}
    if not comparisons:
        unjudged = PreferenceGroup(joined, completions, **fields)
        raise not_annotated(where, "labels hold no selection, scale_value or rank_order; leave the row out", unjudged)
    return PreferenceGroup(joined, completions, tuple(comparisons), **fields)


def _sides(row: Mapping[str, Any], where: str) -> tuple[list[str], list[Any]]:
    """Find the compared texts: the one list of texts, or left and right."""
    if "left" in row and "right" in row:
        return ["left", "right"], [row["left"], row["right"]]
    lists = {name: v for name, v in row.items() if name not in COLUMNS and isinstance(v, list) and len(v) > 1}
    lists = {name: v for name, v in lists.items() if all(isinstance(item, str) for item in v)}
    if len(lists) != 1:
        found = ", ".join(lists) or "none"
        raise row_error(
            where,
            "unclear columns",
            f"needs one list of texts, or left and right ({found}); join labels with their items",
        )
    (name, texts), *_ = lists.items()
    return [f"{name}[{index}]" for index in range(len(texts))], texts


def _compares(value: object) -> bool:
    return isinstance(value, Mapping) and any(name in value for name in ANSWERS)


def _compare(
    value: Mapping[str, Any], size: int, where: str, scheme: str, annotator: str | None
) -> Sequence[Comparison]:
    """Turn one answer into comparisons: the selected item beats every other, a ranking orders all."""
    if value.get("rank_order") not in (None, ""):
        ranks = _ranks(value["rank_order"], size, where, f"labels.{scheme}.rank_order")
        return ranked_comparisons(ranks, annotator=annotator)
    if value.get("scale_value") not in (None, ""):
        number = check_number(value["scale_value"], where, f"labels.{scheme}.scale_value")
        if size != 2:
            raise row_error(where, "wrong length", f"a scale compares 2 items, not {size}")
        if number == 0:
            return [Comparison(0, 1, "tie", annotator=annotator)]
        # Below 0 the left text is better, above it the right one.
        better = int(number > 0)
        return [Comparison(better, 1 - better, margin=abs(number), annotator=annotator)]
    selection = value.get("selection")
    if selection in (None, ""):
        return []
    if selection == "tie":
        return [Comparison(i, j, "tie", annotator=annotator) for i in range(size) for j in range(i + 1, size)]
    # A is the first of the compared texts.
    letters = string.ascii_uppercase[:size]
    if not isinstance(selection, str) or len(selection) != 1 or selection not in letters:
        raise row_error(
            where,
            "wrong label",
            f"labels.{scheme}.selection must be one of {', '.join(letters)} or tie, not {selection!r}",
        )
    best = letters.index(selection)
    return [Comparison(best, other, annotator=annotator) for other in range(size) if other != best]


def _ranks(order: object, size: int, where: str, place: str) -> list[int]:
    """Return the rank of every item from an order of letters such as "B,D=A,C"; equals share the better rank."""
    ranks: dict[str, int] = {}
    for tied in str(order).split(","):
        rank = len(ranks)
        ranks |= {letter.strip(): rank for letter in tied.split("=")}
    letters = string.ascii_uppercase[:size]
    if sorted(ranks) != sorted(letters):
        raise row_error(
            where, "wrong label", f"{place} must order {', '.join(letters)} once each, not {describe(order)}"
        )
    return [ranks[letter] for letter in letters]


def read_folder(folder: Path, split: str | None, on_broken: OnBroken | None) -> Iterator[Row] | None:
    """Read an export's answers, joined with their items; None where the folder is none."""
    if any((folder / name).exists() for name in ("dataset_dict.json", "state.json")):
        return None
    exported = find_export(data_files(folder), read_rows)
    return None if exported is None else join_export(*exported, lambda path: read_rows(path, on_broken=on_broken))


def find_export(files: list[Path], read: Read) -> tuple[Path, list[Path]] | None:
    """Return the file of the answers and those of the items, when the files of a folder are an export of Potato."""
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
    """Yield every answer with its item; memory holds the items. An answer to an unknown item comes without one."""
    known = {_name_of(row): row for path in items for _, row in read(path)}
    for where, row in read(answers):
        item = known.get(str(row.get("instance_id")), {})
        texts = {name: _decoded(value) for name, value in item.items() if name not in IDS}
        yield where, {**texts, **_nested(row)}


def _name_of(item: Mapping[str, Any]) -> str:
    return str(next((item[name] for name in IDS if name in item), ""))


def _decoded(value: object) -> Any:
    """Read a list that the Parquet export holds as JSON text."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, list) else value


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with `labels`, scheme to answer, also where they stand in columns of their own."""
    if "labels" in row:
        return dict(row)
    labels: dict[str, dict[str, Any]] = {}
    for column, value in row.items():
        scheme, _, answer = column.rpartition(".")
        if answer in ANSWERS and scheme and value not in (None, ""):
            labels.setdefault(scheme, {})[answer] = value
    return {"instance_id": row.get("instance_id"), "user_id": row.get("user_id"), "labels": labels}


FORMAT = Format("potato", read_row, ({"instance_id", "labels"},), read_folder=read_folder)
