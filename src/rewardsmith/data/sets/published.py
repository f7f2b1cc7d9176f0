"""What the readers of the published reward-model data sets share: checked rows, checked turns, runs of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import (
    check_list,
    check_mapping,
    check_messages,
    check_number,
    check_text,
    find_role_faults,
    require,
)
from rewardsmith.data.sets.entry import Read, Row, Rows
from rewardsmith.errors import DataError, RowError, describe, row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup

Turns = tuple[Message, ...]
UNKNOWN = ("", "N/A", "n/a", "null", "None")


def attempt(build: Callable[[], PreferenceGroup], where: str) -> PreferenceGroup | RowError:
    """Build a group, or give the error of the row `where`."""
    try:
        return build()
    except RowError as error:
        return error
    except DataError as error:
        return row_error(where, "unusable row", str(error))


def runs(
    rows: Rows, part_of: Callable[[Row, str], tuple[Any, Any]], build: Callable[[str, Any, list[Any]], PreferenceGroup]
) -> Read:
    """Gather consecutive rows of one key into one group; memory holds one run.

    Args:
        part_of: gives (key, part) of a row, or raises the RowError that leaves it out.
        build: makes the group of (where of the first row, key, parts).
    """
    for found in consecutive(rows, part_of):
        if isinstance(found, RowError):
            yield found
        else:
            key, places, parts = found
            yield from attempt_run(partial(build, places[0], key, parts), places)


def consecutive(
    rows: Rows, part_of: Callable[[Row, str], tuple[Any, Any]]
) -> Iterator[RowError | tuple[Any, list[str], list[Any]]]:
    """Yield runs of rows of one key as (key, where of each, part of each), and the errors of rows between them."""
    key = None
    places: list[str] = []
    parts: list[Any] = []
    for where, row in rows:
        try:
            found, part = part_of(row, where)
        except RowError as error:
            yield error
            continue
        if parts and found != key:
            yield key, places, parts
            places, parts = [], []
        key = found
        places.append(where)
        parts.append(part)
    if parts:
        yield key, places, parts


def attempt_run(build: Callable[[], PreferenceGroup], places: Sequence[str]) -> Read:
    """Build a group of several rows, or give an error for each of them, so that none is left out uncounted."""
    found = attempt(build, places[0])
    yield found
    if isinstance(found, RowError):
        for where in places[1:]:
            yield row_error(where, found.reason, f"left out with {places[0]}, which it belongs to")


def ask(question: object, answers: Mapping[str, Any], where: str, column: str) -> tuple[Turns, tuple[Turns, ...]]:
    """Return one question and its answers (column name to text) as a user turn and assistant turns."""
    text = check_prompt(question, where, column)
    sides = tuple(answer(value, where, name) for name, value in answers.items())
    return (Message("user", text),), sides


def answer(value: object, where: str, column: str) -> Turns:
    """Return one answer as a turn of the assistant."""
    return (Message("assistant", said(value, where, column)),)


def said(value: object, where: str, column: str) -> str:
    """Accept text that says something; null and empty text are dirt of the data, counted apart from wrong types."""
    if value is None:
        raise row_error(where, "null value", f"column {column!r} is null; write the text or remove the row")
    return check_text(value, where, column)


def check_prompt(value: object, where: str, column: str) -> str:
    """Accept a prompt that says something."""
    text = "" if value is None else check_text(value, where, column, empty=True)
    if not text.strip():
        raise row_error(where, "empty prompt", f"column {column!r} is empty; write the prompt or remove the row")
    return text


def conversation(value: object, where: str, column: str) -> Turns:
    """Read a list of messages; content that comes as parts of text only becomes one text."""
    value = check_list(value, where, column)
    plain = []
    for index, message in enumerate(check_messages(value, where, column)):
        content = _joined(message.content) if isinstance(message.content, list) else message.content
        if content is None:
            raise row_error(where, "null value", f"{column}[{index}].content is null; fill it in or remove the row")
        plain.append(Message(message.role, content))
    return tuple(plain)


def _joined(parts: list[Any]) -> Any:
    """Join parts of text; parts of any other kind stay a list."""
    texts = [part.get("text") if isinstance(part, Mapping) and not part.get("image") else None for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        return [{k: v for k, v in p.items() if v is not None} if isinstance(p, Mapping) else p for p in parts]
    return "\n".join(str(text) for text in texts)


def check_turns(turns: Turns, where: str, column: str, last: str = "assistant") -> Turns:
    """Refuse what is no conversation (see `roles`); it must end with `last`, "assistant" or "user"."""
    if last == "assistant" and turns[-1].role == "assistant" and not _says_something(turns[-1].content):
        raise row_error(where, "empty completion", f"{column!r} ends with an empty answer; write it or remove the row")
    faults = find_role_faults(turns if last == "assistant" else (*turns, Message("assistant", "its answer")))
    if faults:
        raise row_error(where, faults[0], f"{column!r}: {'; '.join(faults)}; repair the turns or leave the row out")
    return turns


def _says_something(content: object) -> bool:
    return bool(content.strip() if isinstance(content, str) else content)


def labelled_pair(
    row: Row, where: str, question: str, answers: tuple[str, str], metadata: dict[str, Any]
) -> PreferenceGroup:
    """Read one question and two answers, by their columns; `label` is 1 or 2, the better answer.

    An empty answer stays: people judged it, and `data check` names it.
    """
    label = require(row, "label", where)
    if isinstance(label, bool) or label not in (1, 2):
        raise row_error(where, "unknown label", f"column 'label' is {describe(label)}; accepted: 1, 2")
    texts = [check_text(require(row, name, where), where, name, empty=True) for name in answers]
    asked = check_prompt(require(row, question, where), where, question)
    return PreferenceGroup(
        prompt=(Message("user", asked),),
        completions=tuple((Message("assistant", text),) for text in texts),
        comparisons=(Comparison(int(label) - 1, 2 - int(label)),),
        group_id=where,
        metadata=metadata,
    )


def compare(scores: Sequence[float | None], *, lower_is_better: bool = False) -> tuple[Comparison, ...]:
    """Return the comparisons that scores imply among the completions that have one; equal scores are ties."""
    edges = []
    for i, first in enumerate(scores):
        for j in range(i + 1, len(scores)):
            second = scores[j]
            if first is None or second is None:
                continue
            if first == second:
                edges.append(Comparison(i, j, "tie"))
                continue
            better, worse = (i, j) if (first < second) == lower_is_better else (j, i)
            edges.append(Comparison(better, worse))
    return tuple(edges)


def signed_comparison(strength: object, where: str, column: str, annotator: str | None = None) -> Comparison:
    """Read a strength from -3 (the first is much better) to 3 (the second is); 0 is a tie, the size the margin."""
    value = check_number(strength, where, column)
    if not -3 <= value <= 3:
        raise row_error(where, "out of range", f"column {column!r} is {value:g}; it must lie between -3 and 3")
    if value == 0:
        return Comparison(0, 1, "tie", annotator=annotator)
    better, worse = (0, 1) if value < 0 else (1, 0)
    return Comparison(better, worse, margin=abs(value), annotator=annotator)


def known_number(value: object, where: str, column: str) -> float | None:
    """Return a number, or None where the cell says that it is not known (null, NaN, N/A, empty)."""
    if value is None or (isinstance(value, str) and value.strip() in UNKNOWN):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return check_number(value, where, column)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values, None when there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def choice(value: object, where: str, column: str, accepted: tuple[Any, ...]) -> Any:
    """Accept one of the values that the data set knows; the error names them."""
    found = next((item for item in accepted if type(item) is type(value) and item == value), None)
    if found is None:
        names = ", ".join(map(repr, accepted))
        raise row_error(where, "unknown label", f"column {column!r} is {describe(value)}; accepted: {names}")
    return found


def index_choice(value: object, where: str, column: str) -> int:
    """Accept 0 or 1, the number of the chosen side, also where a table stored it as 0.0, 1.0 or text."""
    number = check_number(value, where, column)
    if number not in (0.0, 1.0):
        raise row_error(where, "unknown label", f"column {column!r} is {describe(value)}; accepted: 0, 1")
    return int(number)


def records(value: object, where: str, column: str) -> list[dict[str, Any]]:
    """Read a list of objects, also in the form of an object of lists that some exports give."""
    if isinstance(value, Mapping):
        columns = {str(k): check_list(v, where, f"{column}.{k}") for k, v in value.items()}
        size = max(map(len, columns.values()), default=0)
        if any(len(cells) != size for cells in columns.values()):
            raise row_error(where, "wrong length", f"the lists inside {column!r} differ in length; re-export the row")
        return [{k: cells[i] for k, cells in columns.items()} for i in range(size)]
    items = check_list(value, where, column)
    return [check_mapping(item, where, f"{column}[{index}]") for index, item in enumerate(items)]


def kept(row: Row, *names: str) -> dict[str, Any]:
    """Return the named cells that are not null, for the metadata; times become text."""
    found = {name: row[name] for name in names if row.get(name) is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in found.items()}


def name_of(value: object) -> str | None:
    """Return the name of a model, person or source as text, None when there is none."""
    return None if value is None or value == "" else str(value)


def iso_time(value: object) -> str | None:
    """Return a time as ISO 8601: seconds since 1970, a datetime or text; None for what is no time."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return value or None
    try:
        return datetime.fromtimestamp(value, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return None
