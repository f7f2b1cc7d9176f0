"""Records of annotation tools in which one object holds an item and all its answers: Argilla's and Label Studio's.

Argilla: `fields` and `responses`, with a ranking or a label question. A ranking response lists `{"value": FIELD,
"rank": N}`; a label response names the preferred field, or a tie. Two layouts: nested (2.x `to_json`, `to_list`,
`to_disk`, and 1.x), and flat (2.x `to_datasets`, `to_hub` and `to_list` with `flatten`), where a question is the
columns `NAME.responses`, `NAME.responses.users`, `NAME.responses.status`.

Label Studio's JSON export: one task a row, with every annotator's `<Pairwise>` or `<Ranker>` result.

The task's data names the texts as the project chose. The prompt is the field called prompt, question, instruction
or input, or one of a few names more; a ranking's answers are the fields that it ranks. For a pairwise result they are
the two fields that `to_name` names, or else the two other text fields, in order. Suggestions, predictions and drafts
are no judgements.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_number, check_text, require
from rewardsmith.data.formats.format import Format
from rewardsmith.data.formats.pairs import group_fields, join_prompt
from rewardsmith.data.formats.rankings import ranked_comparisons
from rewardsmith.errors import RowError, not_annotated, row_error
from rewardsmith.records import Comparison, PreferenceGroup

ARGILLA_PROMPTS = ("prompt", "question", "instruction", "input", "context")
# Names that a prompt may have where two other texts are there to be compared.
OTHER_PROMPTS = ("query", "problem", "post", "context", "text")
TIES = ("tie", "equal", "same", "both")
FLAT = ".responses"
OWN_COLUMNS = ("id", "status", "_server_id", "inserted_at", "updated_at", "external_id")


def read_argilla(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one record with every annotator's submitted response."""
    row = _nested(row, where) if "fields" not in row else row
    texts = check_mapping(require(row, "fields", where), where, "fields")
    answers, others = _answers(row, where)
    ranked = {str(e.get("value")) for _, value, _ in answers for e in _entries(value) if "rank" in e}
    # A field that is not required may be empty; a ranking lists it all the same.
    given = row["fields"]
    absent = [name for name in given if given[name] is None] if isinstance(given, Mapping) else []
    names = list(texts)
    prompt_name = _find_prompt(names, ARGILLA_PROMPTS, ranked)
    names = [name for name in names if name != prompt_name and (name in ranked or len(ranked) < 2)]
    comparisons: list[Comparison] = []
    for question, value, annotator in answers:
        edges = _compare_fields(value, names, where, annotator, absent)
        if edges is None:
            others[question] = others.get(question, 0) + 1
        else:
            comparisons += edges
    sides = [texts[name] for name in names]
    prompt = None if prompt_name is None else texts[prompt_name]
    joined, completions = join_prompt(prompt, sides, where, f"fields.{prompt_name}", [f"fields.{n}" for n in names])
    metadata = dict(check_mapping(row.get("metadata") or {}, where, "metadata"))
    if others:
        metadata["other_responses"] = others
    unread = {name: text for name, text in texts.items() if name not in (prompt_name, *names)}
    if unread:
        metadata["other_fields"] = unread
    identity = None if row.get("id") is None else str(row["id"])
    group = PreferenceGroup(joined, completions, tuple(comparisons), group_id=identity, metadata=metadata)
    if not comparisons:
        text = "no response ranks the fields or names one; annotate it or leave it out"
        raise not_annotated(where, text, group if len(names) > 1 else None)
    return group


def _find_prompt(names: Sequence[str], known: Sequence[str], compared: Collection[str] = ()) -> str | None:
    """Return the field that holds the prompt: one that is known as such, or a likely one beside two others."""
    likely = (*known, *OTHER_PROMPTS) if len(names) > 2 else known
    return next((name for name in likely if name in names and name not in compared), None)


def _nested(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a flat record in the nested layout.

    Fields and metadata are not told apart there: the fields are what a ranking ranks and the prompt, or, for label
    questions, every text that is no column of Argilla's own.
    """
    responses = {}
    for question in [column.removesuffix(FLAT) for column in row if column.endswith(FLAT)]:
        column = f"{question}{FLAT}"
        values = check_list(row[column] or [], where, column)
        users, statuses = (check_list(row.get(f"{column}.{name}") or [], where, name) for name in ("users", "status"))
        padded = zip_longest(values, users[: len(values)], statuses[: len(values)])
        responses[question] = [{"value": v, "user_id": u, "status": s or "submitted"} for v, u, s in padded]
    answers = [entry["value"] for entries in responses.values() for entry in entries]
    ranked = {str(item.get("value")) for answer in answers for item in _entries(answer)}
    texts = {name: text for name, text in row.items() if "." not in name and name not in OWN_COLUMNS}
    fields = {
        n: t for n, t in texts.items() if (n in ranked or n in ARGILLA_PROMPTS if ranked else isinstance(t, str | list))
    }
    metadata = {name: value for name, value in texts.items() if name not in fields and value is not None}
    return {"id": row.get("id"), "fields": fields, "responses": responses, "metadata": metadata}


def _entries(answer: object) -> list[Mapping[str, Any]]:
    """Return the entries of a ranking; an answer of another kind has none."""
    return [entry for entry in answer if isinstance(entry, Mapping)] if isinstance(answer, list) else []


def _answers(row: Mapping[str, Any], where: str) -> tuple[list[tuple[str, Any, str | None]], dict[str, int]]:
    """Return (question, value, annotator) for every submitted response, and how many were not submitted."""
    answers: list[tuple[str, Any, str | None]] = []
    skipped: dict[str, int] = {}
    responses = require(row, "responses", where)
    if isinstance(responses, Mapping):
        listed = [(name, r) for name, rs in responses.items() for r in check_list(rs or [], where, f"responses.{name}")]
    else:
        # Argilla 1.x: one entry an annotator, with the values of all questions.
        listed = []
        for index, entry in enumerate(check_list(responses, where, "responses")):
            response = check_mapping(entry, where, f"responses[{index}]")
            values = check_mapping(response.get("values") or {}, where, f"responses[{index}].values")
            listed += [(name, {**response, **check_mapping(v, where, name)}) for name, v in values.items()]
    for name, entry in listed:
        response = check_mapping(entry, where, f"responses.{name}")
        if response.get("status", "submitted") != "submitted":
            skipped["not submitted"] = skipped.get("not submitted", 0) + 1
            continue
        user = response.get("user_id")
        answers.append((name, response.get("value"), None if user is None else str(user)))
    return answers, skipped


def _compare_fields(
    value: object, names: Sequence[str], where: str, annotator: str | None, absent: Collection[str] = ()
) -> Sequence[Comparison] | None:
    """Turn one response into comparisons; None for a response to a question of another kind."""
    if isinstance(value, str) and len(names) == 2:
        if value in names:
            better = names.index(value)
            return [Comparison(better, 1 - better, annotator=annotator)]
        return [Comparison(0, 1, "tie", annotator=annotator)] if value.lower() in TIES else None
    if not isinstance(value, list) or not value or not all(isinstance(v, Mapping) and "rank" in v for v in value):
        return None
    ranks = {str(entry.get("value")): check_number(entry["rank"], where, "rank") for entry in value}
    ranks = {name: rank for name, rank in ranks.items() if name not in absent}
    if sorted(ranks) != sorted(names):
        raise row_error(
            where,
            "wrong length",
            f"the ranking orders {', '.join(ranks)} but the fields are {', '.join(names)}; rank all",
        )
    return ranked_comparisons([ranks[name] for name in names], annotator=annotator)


ARGILLA = Format("argilla", read_argilla, ({"fields", "responses"},), pattern=re.compile(r".+\.responses\.users"))


LABEL_STUDIO_PROMPTS = ("prompt", "question", "instruction", "input")
TASK_COLUMNS = {"data", "annotations", "id", "predictions", "created_at", "updated_at"}


def read_label_studio(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one task. Skipped (cancelled) annotations are counted in `metadata["cancelled_annotations"]`."""
    data = check_mapping(require(row, "data", where), where, "data")
    annotations = [
        check_mapping(a, where, f"annotations[{i}]")
        for i, a in enumerate(check_list(require(row, "annotations", where), where, "annotations"))
    ]
    kept = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    results = [(a, result) for a in kept for result in _judgements(a, where)]
    try:
        names, sides = _completions(data, [result for _, result in results], where)
    except RowError:
        if results:
            raise
        names, sides = list[str](), list[Any]()
    prompt_name = _find_prompt(list(data), LABEL_STUDIO_PROMPTS, names)
    prompt = None if prompt_name is None else data[prompt_name]
    comparisons: list[Comparison] = []
    for annotation, result in results:
        by = {"annotator": _annotator(annotation), "time": annotation.get("created_at")}
        comparisons += _compare_items(result, names, where, by)
    joined, completions = join_prompt(prompt, sides, where, "data.prompt", [f"data.{name}" for name in names])
    fields = group_fields(row, where, TASK_COLUMNS)
    if len(kept) < len(annotations):
        cancelled = len(annotations) - len(kept)
        fields["metadata"] = {**fields.get("metadata", {}), "cancelled_annotations": cancelled}
    known = {prompt_name, *names}
    unread = {name: value for name, value in data.items() if name not in known and isinstance(value, str)}
    if unread:
        fields["metadata"] = {**fields.get("metadata", {}), "other_data": unread}
    identity = None if row.get("id") is None else str(row["id"])
    group = PreferenceGroup(joined, completions, tuple(comparisons), **{"group_id": identity, **fields})
    if not results:
        text = "the task has no pairwise or ranker result; annotate it or leave it out"
        raise not_annotated(where, text, group if len(names) > 1 else None)
    return group


def _judgements(annotation: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the results of one annotation that compare something."""
    results = [check_mapping(r, where, "result") for r in check_list(annotation.get("result") or [], where, "result")]
    return [result for result in results if result.get("type") in ("pairwise", "ranker")]


def _annotator(annotation: Mapping[str, Any]) -> str | None:
    """Return who annotated: an id, or an object with an e-mail or id in older exports."""
    person = annotation.get("completed_by")
    if isinstance(person, Mapping):
        person = person.get("email", person.get("id"))
    return None if person is None else str(person)


def _completions(
    data: Mapping[str, Any], results: Sequence[Mapping[str, Any]], where: str
) -> tuple[list[str], list[Any]]:
    """Find the names (or item ids) and the texts of what was compared."""
    lists = [v for v in data.values() if isinstance(v, list) and v and isinstance(v[0], Mapping)]
    # Beside the items of a ranker, a conversation is a list of objects, too.
    items = next((v for v in lists if "id" in v[0]), lists[0] if results and lists else None)
    if results[0]["type"] == "ranker" if results else items is not None:
        if items is None:
            raise row_error(where, "missing column", "the ranker needs a data field with a list of items")
        entries = [check_mapping(item, where, "item") for item in items]
        texts = [entry.get("body") or entry.get("text") or entry.get("html") for entry in entries]
        return [str(require(entry, "id", where)) for entry in entries], texts
    names = [name.strip() for name in str(results[0].get("to_name", "") if results else "").split(",")]
    if len(names) != 2 or not all(name in data for name in names):
        written = [name for name, value in data.items() if isinstance(value, str)]
        prompt = _find_prompt(written, LABEL_STUDIO_PROMPTS)
        names = [name for name in written if name != prompt and name not in LABEL_STUDIO_PROMPTS]
    if len(names) != 2:
        found = ", ".join(names) or "none"
        raise row_error(
            where, "unclear columns", f"cannot tell which two data fields were compared ({found}); keep only two"
        )
    return names, [data[name] for name in names]


def _compare_items(
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


LABEL_STUDIO = Format("label-studio", read_label_studio, ({"data", "annotations"},))
