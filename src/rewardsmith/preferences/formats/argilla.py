"""Argilla's records (2.x `to_json`/`to_list`): `fields` and `responses`, with a ranking or a label question.

A ranking response lists `{"value": FIELD, "rank": N}`; a label response names the preferred field, or a tie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.preferences.row_parts import join_prompt, ranked_comparisons
from rewardsmith.preferences.row_values import check_list, check_mapping, check_number, require, row_error
from rewardsmith.records import Comparison, PreferenceGroup

SIGNATURES = ({"fields", "responses"},)
PROMPTS = ("prompt", "question", "instruction", "input", "context")
TIES = ("tie", "equal", "same", "both")


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one record with every annotator's submitted response."""
    texts = check_mapping(require(row, "fields", where), where, "fields")
    prompt_name = next((name for name in PROMPTS if name in texts), None)
    names = [name for name in texts if name != prompt_name]
    answers, others = _answers(row, where)
    comparisons: list[Comparison] = []
    for question, value, annotator in answers:
        edges = _compare(value, names, where, annotator)
        if edges is None:
            others[question] = others.get(question, 0) + 1
        else:
            comparisons += edges
    if not comparisons:
        raise row_error(
            where, "not annotated", "no response ranks the fields or names one; annotate it or leave it out"
        )
    sides = [texts[name] for name in names]
    prompt = None if prompt_name is None else texts[prompt_name]
    joined, completions = join_prompt(prompt, sides, where, f"fields.{prompt_name}", [f"fields.{n}" for n in names])
    metadata = dict(check_mapping(row.get("metadata") or {}, where, "metadata"))
    if others:
        metadata["other_responses"] = others
    identity = row.get("id")
    return PreferenceGroup(
        joined,
        completions,
        tuple(comparisons),
        group_id=None if identity is None else str(identity),
        metadata=metadata,
    )


def _answers(row: Mapping[str, Any], where: str) -> tuple[list[tuple[str, Any, str | None]], dict[str, int]]:
    """Give (question, value, annotator) for every submitted response, and how many were not submitted."""
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


def _compare(value: Any, names: Sequence[str], where: str, annotator: str | None) -> Sequence[Comparison] | None:
    """Turn one response into comparisons; None for a response to a question of another kind."""
    if isinstance(value, str) and len(names) == 2:
        if value in names:
            better = names.index(value)
            return [Comparison(better, 1 - better, annotator=annotator)]
        return [Comparison(0, 1, "tie", annotator=annotator)] if value.lower() in TIES else None
    if not isinstance(value, list) or not value or not all(isinstance(v, Mapping) and "rank" in v for v in value):
        return None
    ranks = {str(entry.get("value")): check_number(entry["rank"], where, "rank") for entry in value}
    if sorted(ranks) != sorted(names):
        raise row_error(
            where,
            "wrong length",
            f"the ranking orders {', '.join(ranks)} but the fields are {', '.join(names)}; rank all",
        )
    return ranked_comparisons([ranks[name] for name in names], annotator=annotator)
