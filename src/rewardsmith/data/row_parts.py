"""What the formats share: joining prompt and sides, the fields beside them, and the comparisons that ranks imply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewardsmith.data.row_values import (
    check_ending,
    check_flag,
    check_list,
    check_mapping,
    check_number,
    check_side,
    decode_json,
    is_conversation,
)
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup

COMPARISON_COLUMNS = ("margin", "weight", "probability", "tie", "annotator", "time", "rationale")
SIDE_COLUMNS = ("chosen_model", "rejected_model", "chosen_ratings", "rejected_ratings")
Side = str | tuple[Message, ...]


def pair_group(
    row: Mapping[str, Any], where: str, prompt: Any, sides: Sequence[Any], consumed: Iterable[str]
) -> PreferenceGroup:
    """Build the group of one pair: `sides` is (chosen, rejected); the other columns say how much better and why."""
    joined, completions = join_prompt(prompt, sides, where, "prompt", ("chosen", "rejected"))
    comparison = Comparison(0, 1, **comparison_fields(row, where))
    fields = group_fields(row, where, {*consumed, *SIDE_COLUMNS})
    if row.get("chosen_model") is not None or row.get("rejected_model") is not None:
        names = (row.get("chosen_model"), row.get("rejected_model"))
        fields["models"] = tuple(None if name is None else str(name) for name in names)
    if row.get("chosen_ratings") is not None or row.get("rejected_ratings") is not None:
        fields["ratings"] = _pair_ratings(row, where)
    return PreferenceGroup(joined, completions, (comparison,), **fields)


def _pair_ratings(row: Mapping[str, Any], where: str) -> dict[str, tuple[float | None, float | None]]:
    """Read `chosen_ratings` and `rejected_ratings`: attribute to score."""
    sides = []
    for column in ("chosen_ratings", "rejected_ratings"):
        scores = check_mapping(row.get(column) or {}, where, column)
        sides.append({name: check_number(v, where, f"{column}.{name}") for name, v in scores.items()})
    return {name: (sides[0].get(name), sides[1].get(name)) for name in dict.fromkeys([*sides[0], *sides[1]])}


def join_prompt(
    prompt: Any, sides: Sequence[Any], where: str, prompt_column: str, side_columns: str | Sequence[str]
) -> tuple[Side, tuple[Side, ...]]:
    """Give prompt and completions in one form: all text, or all messages.

    - No prompt and messages: the prompt is what all conversations begin with, and every completion keeps at least
      its last message. No prompt and text: the prompt is "" and each completion the full text.
    - Prompt text and message completions: if the conversations already begin with that prompt it is not said
      twice; otherwise it becomes one user message.
    - Prompt messages and text completions: each completion becomes one assistant message.
    """
    columns = [f"{side_columns}[{i}]" for i in range(len(sides))] if isinstance(side_columns, str) else side_columns
    completions = tuple(check_side(side, where, name) for side, name in zip(sides, columns, strict=True))
    conversational = [is_conversation(c) for c in completions]
    if any(conversational) and not all(conversational):
        text, messages = columns[conversational.index(False)], columns[conversational.index(True)]
        raise row_error(
            where,
            "mixed types",
            f"column {text!r} is text but {messages!r} is a list of messages; use one form for both",
        )
    for completion, name in zip(completions, columns, strict=True):
        if not isinstance(completion, str):
            check_ending(completion, where, name)
    if isinstance(prompt, list | tuple) and not prompt:
        prompt = ""
    asked: Side | None = None if prompt is None else check_side(prompt, where, prompt_column, empty=True)
    if asked is None or isinstance(asked, str):
        if not all(conversational):
            return asked or "", completions
        return _split_conversations(asked, [c for c in completions if not isinstance(c, str)])
    return asked, tuple((Message("assistant", c),) if isinstance(c, str) else c for c in completions)


def _split_conversations(
    prompt: str | None, conversations: Sequence[tuple[Message, ...]]
) -> tuple[Side, tuple[Side, ...]]:
    """Split conversations after their common beginning, if they hold the prompt; else put the prompt before them."""
    shared = common_length(conversations)
    asked = [m for m in conversations[0][:shared] if m.role == "user" and isinstance(m.content, str)]
    if prompt is None or any(message.content.strip() == prompt.strip() for message in asked):
        return conversations[0][:shared] or "", tuple(c[shared:] for c in conversations)
    return (Message("user", prompt),) if prompt else "", tuple(conversations)


def common_length(conversations: Sequence[tuple[Message, ...]]) -> int:
    """Count the leading messages that all share, leaving each at least its last message."""
    limit = min(map(len, conversations)) - 1
    first = conversations[0]
    for index in range(limit):
        if any(other[index] != first[index] for other in conversations[1:]):
            return index
    return limit


def comparison_fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read the optional columns that describe one comparison; empty cells count as absent."""
    fields: dict[str, Any] = {}
    for column in COMPARISON_COLUMNS:
        value = row.get(column)
        if value is None or (isinstance(value, str) and not value):
            continue
        if column in ("annotator", "time", "rationale"):
            fields[column] = str(value)
        elif column == "tie":
            fields["outcome"] = "tie" if check_flag(value, where, column) else "better"
        else:
            fields[column] = check_number(value, where, column)
    if fields.get("weight", 0) < 0:
        raise row_error(where, "out of range", f"column 'weight' is {fields['weight']}; give a number >= 0")
    if not 0 <= fields.get("probability", 0) <= 1:
        raise row_error(
            where,
            "out of range",
            f"column 'probability' is {fields['probability']}; give P(chosen is preferred) in [0, 1]",
        )
    return fields


def group_fields(row: Mapping[str, Any], where: str, consumed: set[str]) -> dict[str, Any]:
    """Read source, group_id, tools and template arguments; keep every other column as metadata."""
    fields: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for column, value in row.items():
        if column in consumed or column in COMPARISON_COLUMNS or value is None:
            continue
        if column == "tools":
            if value not in ("", []):
                fields["tools"] = tuple(check_list(value, where, "tools"))
        elif column == "chat_template_kwargs":
            fields[column] = check_mapping(value, where, column) if value != "" else None
        elif column in ("source", "group_id") and isinstance(value, str | int):
            fields[column] = str(value)
        elif column == "metadata" and isinstance(value, Mapping | str):
            metadata.update(_read_metadata(value))
        else:
            metadata[str(column)] = value.tolist() if hasattr(value, "tolist") else value
    if metadata:
        fields["metadata"] = metadata
    return fields


def _read_metadata(value: Mapping[str, Any] | str) -> dict[str, Any]:
    """Unfold a `metadata` column; text that is no JSON object is kept as it is."""
    if isinstance(value, str):
        try:
            decoded = decode_json(value, "row", "metadata")
        except ValueError:
            decoded = value
        return dict(decoded) if isinstance(decoded, Mapping) else {"metadata": value}
    return {str(k): v for k, v in value.items() if v is not None}


def ranked_comparisons(ranks: Sequence[float], **fields: Any) -> tuple[Comparison, ...]:
    """Give all K(K-1)/2 comparisons that ranks imply: lower is better, equal ranks are ties."""
    edges = []
    for i in range(len(ranks)):
        for j in range(i + 1, len(ranks)):
            better, worse = (i, j) if ranks[i] <= ranks[j] else (j, i)
            outcome = "tie" if ranks[i] == ranks[j] else fields.get("outcome", "better")
            edges.append(Comparison(better, worse, **{**fields, "outcome": outcome}))
    return tuple(edges)


def scored_comparisons(scores: Sequence[float]) -> tuple[Comparison, ...]:
    """Give all comparisons that scores imply: higher is better, the difference is the margin, equal is a tie."""
    edges = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            better, worse = (i, j) if scores[i] >= scores[j] else (j, i)
            gap = scores[better] - scores[worse]
            edges.append(Comparison(better, worse, "better", gap) if gap else Comparison(i, j, "tie"))
    return tuple(edges)
