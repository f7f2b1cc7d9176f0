"""From a row of a file to what is asked of the scorer, and from its rewards to the columns that are added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewardsmith.data.row_parts import group_fields, join_prompt
from rewardsmith.data.row_values import check_ids, check_list
from rewardsmith.errors import ConfigError, row_error
from rewardsmith.records import ScoreRequest, TokenIds

# Form -> the columns that make it; the first that fits is taken.
FORMS = {
    "ids": ("chosen_ids", "rejected_ids"),
    "pair": ("chosen", "rejected"),
    "completions": ("completions",),
    "completion": ("completion",),
    "messages": ("messages",),
    "text": ("text",),
}


def form_of(columns: Iterable[str]) -> str | None:
    """Name the form of a row by its columns; None when it holds nothing that can be scored."""
    names = set(columns)
    return next((form for form, needed in FORMS.items() if names.issuperset(needed)), None)


def read_request(row: Mapping[str, Any], where: str) -> ScoreRequest:
    """Read what a row asks to be scored.

    Raises:
        DataError: no column can be scored, or one is empty or of a wrong type; the message names row and column.
    """
    form = form_of(row)
    if form is None:
        columns = ", ".join(map(str, row)) or "none"
        wanted = "completion, completions, chosen and rejected, text or messages"
        raise row_error(where, "unknown columns", f"nothing to score in the columns ({columns}); give {wanted}")
    names, prompt = FORMS[form], row.get("prompt", row.get("context"))
    if form == "ids":
        return ScoreRequest("", tuple(TokenIds(check_ids(row[name], where, name)) for name in names))
    if form in ("text", "messages"):
        prompt = None
    if form == "completions":
        sides = [_answer(entry) for entry in check_list(row["completions"], where, "completions")]
        if not sides:
            raise row_error(where, "empty list", "column 'completions' is empty; give at least one or remove the row")
        asked, completions = join_prompt(prompt, sides, where, "prompt", "completions")
    else:
        asked, completions = join_prompt(prompt, [row[name] for name in names], where, "prompt", names)
    fields = group_fields(row, where, set(row) - {"tools", "chat_template_kwargs"})
    return ScoreRequest(asked, completions, fields.get("tools"), fields.get("chat_template_kwargs"))


def add_rewards(
    row: Mapping[str, Any], rewards: Sequence[float], column: str = "reward", parts: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Give the row with its rewards: `reward`, `rewards`, or `chosen_reward` and `rejected_reward`.

    `parts`, one entry a reward, go into columns of the same names with `_parts` at the end.

    Raises:
        ConfigError: the row holds such a column already.
    """
    added = _columns(row, rewards, column)
    if parts is not None:
        added |= {f"{name}_parts": value for name, value in _columns(row, parts, column).items()}
    taken = next((name for name in added if name in row), None)
    if taken:
        raise ConfigError(f"the input has a column {taken!r} already; name the new one with --column")
    return {**row, **added}


def _columns(row: Mapping[str, Any], values: Sequence[Any], column: str) -> dict[str, Any]:
    form = form_of(row)
    if form in ("pair", "ids"):
        return {f"chosen_{column}": values[0], f"rejected_{column}": values[1]}
    return {f"{column}s": list(values)} if form == "completions" else {column: values[0]}


def _answer(entry: Any) -> Any:
    """Unwrap NeMo's `{"completion": ..., "rank": ...}`."""
    return entry["completion"] if isinstance(entry, Mapping) and "completion" in entry else entry
