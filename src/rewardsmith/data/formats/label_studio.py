"""Label Studio's JSON export: one task a row, with every annotator's `<Pairwise>` or `<Ranker>` result.

The task's data names the texts as the project chose. The prompt is the field called prompt, question, instruction
or input; for a pairwise result the two fields that `to_name` names, or else the two other text fields, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.formats.format import Format
from rewardsmith.data.formats.pairs import group_fields, join_prompt, ranked_comparisons
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, PreferenceGroup

PROMPTS = ("prompt", "question", "instruction", "input")
TASK_COLUMNS = {"data", "annotations", "id", "predictions", "created_at", "updated_at"}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one task. Skipped (cancelled) annotations are counted in `metadata["cancelled_annotations"]`."""
    data = check_mapping(require(row, "data", where), where, "data")
    annotations = [
        check_mapping(a, where, f"annotations[{i}]")
        for i, a in enumerate(check_list(require(row, "annotations", where), where, "annotations"))
    ]
    kept = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    results = [(a, result) for a in kept for result in _judgements(a, where)]
    if not results:
        raise row_error(
            where, "not annotated", "the task has no pairwise or ranker result; annotate it or leave it out"
        )
    prompt = next((data[name] for name in PROMPTS if name in data), None)
    names, sides = _completions(data, [result for _, result in results], where)
    comparisons: list[Comparison] = []
    for annotation, result in results:
        by = {"annotator": _annotator(annotation), "time": annotation.get("created_at")}
        comparisons += _compare(result, names, where, by)
    joined, completions = join_prompt(prompt, sides, where, "data.prompt", [f"data.{name}" for name in names])
    fields = group_fields(row, where, TASK_COLUMNS)
    if len(kept) < len(annotations):
        cancelled = len(annotations) - len(kept)
        fields["metadata"] = {**fields.get("metadata", {}), "cancelled_annotations": cancelled}
    identity = None if row.get("id") is None else str(row["id"])
    return PreferenceGroup(joined, completions, tuple(comparisons), **{"group_id": identity, **fields})


def _judgements(annotation: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Give the results of one annotation that compare something."""
    results = [check_mapping(r, where, "result") for r in check_list(annotation.get("result") or [], where, "result")]
    return [result for result in results if result.get("type") in ("pairwise", "ranker")]


def _annotator(annotation: Mapping[str, Any]) -> str | None:
    """Give who annotated: an id, or an object with an e-mail or id in older exports."""
    person = annotation.get("completed_by")
    if isinstance(person, Mapping):
        person = person.get("email", person.get("id"))
    return None if person is None else str(person)


def _completions(
    data: Mapping[str, Any], results: Sequence[Mapping[str, Any]], where: str
) -> tuple[list[str], list[Any]]:
    """Find the names (or item ids) and the texts of what was compared."""
    if results[0]["type"] == "ranker":
        items = next((v for v in data.values() if isinstance(v, list) and v and isinstance(v[0], Mapping)), None)
        if items is None:
            raise row_error(where, "missing column", "the ranker needs a data field with a list of items")
        entries = [check_mapping(item, where, "item") for item in items]
        texts = [entry.get("body") or entry.get("text") or entry.get("html") for entry in entries]
        return [str(require(entry, "id", where)) for entry in entries], texts
    names = [name.strip() for name in str(results[0].get("to_name", "")).split(",")]
    if len(names) != 2 or not all(name in data for name in names):
        names = [name for name, value in data.items() if isinstance(value, str) and name not in PROMPTS]
    if len(names) != 2:
        found = ", ".join(names) or "none"
        raise row_error(
            where, "unclear columns", f"cannot tell which two data fields were compared ({found}); keep only two"
        )
    return names, [data[name] for name in names]


def _compare(
    result: Mapping[str, Any], names: Sequence[str], where: str, by: Mapping[str, Any]
) -> Sequence[Comparison]:
    """Turn one result into comparisons."""
    value = check_mapping(require(result, "value", where), where, "value")
    if result["type"] == "pairwise":
        if value.get("selected") not in ("left", "right"):
            raise row_error(
                where, "wrong label", f"a pairwise result selects left or right, not {value.get('selected')!r}"
            )
        left = value["selected"] == "left"
        return [Comparison(0 if left else 1, 1 if left else 0, **by)]
    lists = check_mapping(require(value, "ranker", where), where, "value.ranker")
    if len(lists) != 1:
        raise row_error(
            where,
            "several buckets",
            f"the ranker has {len(lists)} buckets, whose order the export does not say; use one list",
        )
    order = [
        check_text(str(item), where, "value.ranker") for item in check_list(next(iter(lists.values())), where, "ranker")
    ]
    if sorted(order) != sorted(names):
        raise row_error(
            where, "wrong length", f"the ranker orders {len(order)} of {len(names)} items; rank every item once"
        )
    return ranked_comparisons([order.index(name) for name in names], **by)


FORMAT = Format("label-studio", read_row, ({"data", "annotations"},))
