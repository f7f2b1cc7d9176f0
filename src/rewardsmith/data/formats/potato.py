"""Potato's annotations joined with their items: one judgement of one annotator a row.

Potato stores `labels` (scheme to answer) apart from the items. A row here holds both: `instance_id`, `user_id`,
`labels`, and the item's own fields, which are a list of two or more texts, or `left` and `right`, and perhaps a
prompt. Pairwise answers are `{"selection": "A" | "B" | "tie"}` or, on a scale, `{"scale_value": -3..3}`, where
values below 0 prefer the left item and the distance from 0 is the margin. Rankings are `{"rank_order": "B,D=A,C"}`,
best first, `=` between equals. An export is joined with its items by `potato_export`.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.data.row_parts import group_fields, join_prompt, ranked_comparisons
from rewardsmith.data.row_values import check_mapping, check_number, require
from rewardsmith.errors import describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

SIGNATURES = ({"instance_id", "labels"},)
ANSWERS = ("selection", "scale_value", "rank_order")
PROMPTS = ("prompt", "question", "instruction", "context")
COLUMNS = {"instance_id", "user_id", "labels", "spans", "links", "left", "right", *PROMPTS}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one judgement; every scheme that compares gives one comparison."""
    names, sides = _sides(row, where)
    labels = check_mapping(require(row, "labels", where), where, "labels")
    annotator = None if row.get("user_id") is None else str(row["user_id"])
    answers = [(scheme, value) for scheme, value in labels.items() if isinstance(value, Mapping)]
    comparisons = [edge for scheme, value in answers for edge in _compare(value, len(sides), where, scheme, annotator)]
    if not comparisons:
        raise row_error(
            where, "not annotated", "labels hold no selection, scale_value or rank_order; leave the row out"
        )
    prompt = next((row[name] for name in PROMPTS if row.get(name) is not None), None)
    joined, completions = join_prompt(prompt, sides, where, "prompt", names)
    fields = group_fields(row, where, COLUMNS | {name.split("[")[0] for name in names})
    others = {scheme: value for scheme, value in labels.items() if not _compares(value)}
    if others:
        fields["metadata"] = {**fields.get("metadata", {}), "other_labels": others}
    return PreferenceGroup(
        joined, completions, tuple(comparisons), **{"group_id": str(require(row, "instance_id", where)), **fields}
    )


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


def _compares(value: Any) -> bool:
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
        better = int(number > 0)
        return [Comparison(better, 1 - better, margin=abs(number), annotator=annotator)]
    selection = value.get("selection")
    if selection in (None, ""):
        return []
    if selection == "tie":
        return [Comparison(i, j, "tie", annotator=annotator) for i in range(size) for j in range(i + 1, size)]
    letters = string.ascii_uppercase[:size]
    if not isinstance(selection, str) or len(selection) != 1 or selection not in letters:
        raise row_error(
            where,
            "wrong label",
            f"labels.{scheme}.selection must be one of {', '.join(letters)} or tie, not {selection!r}",
        )
    best = letters.index(selection)
    return [Comparison(best, other, annotator=annotator) for other in range(size) if other != best]


def _ranks(order: Any, size: int, where: str, place: str) -> list[int]:
    """Give the rank of every item from an order of letters such as "B,D=A,C"; equals share the better rank."""
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
