"""Read answers that were sampled from a policy, as they were sampled: an answer given twice counts twice.

Preference data keep each answer once; a best-of-n estimate must not, since a policy does repeat itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.data.formats import read_rows
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup, Text, as_text, text_key

LISTS = ("completions", "responses", "answers")
SINGLES = ("completion", "response", "answer")


def read_samples(path: str | Path, limit: int | None = None) -> list[PreferenceGroup] | None:
    """Read a file of sampled answers; None where its rows have another layout, such as that of preference data.

    Two layouts, told apart by the first row:
    - `prompt` and `completions` (a list), perhaps with `scores` or `ratings` (name to a list);
    - `prompt` and `completion`, one answer a row, its numeric columns being ratings; rows of one prompt belong
      together wherever they stand.
    `responses` or `answers` are read as `completions` is. Prompts and answers are text or messages. Other columns, such
    as the known answer, are kept in `metadata`.

    Args:
        limit: read at most so many rows.

    Raises:
        DataError: a row lacks what the first row has, or its lists differ in length.
    """
    rows = read_rows(path)
    first = next(rows, None)
    if first is None or "prompt" not in first[1]:
        return None
    column = next((name for name in (*LISTS, *SINGLES) if name in first[1]), None)
    is_list = column in LISTS and isinstance(first[1][column], list)
    if column is None or (column in LISTS and not is_list) or (is_list and _is_other_layout(first[1][column])):
        return None
    every = islice(_chain(first, rows), limit)
    if is_list:
        return [_read_list(where, row, column) for where, row in every]
    return _gather(every, column)


def _chain(first: tuple[str, Any], rows: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield first
    yield from rows


def _is_other_layout(values: list[Any]) -> bool:
    """Whether completions are objects with ranks or scores inside, which the readers of preference data know."""
    return bool(values) and isinstance(values[0], Mapping)


def _read_list(where: str, row: Mapping[str, Any], column: str) -> PreferenceGroup:
    """Read a prompt with all its answers."""
    values = _need(where, row, column)
    if not isinstance(values, list):
        raise DataError(f"{where}: column {column!r} must be a list of answers, not {type(values).__name__}")
    completions = tuple(as_text(value, f"{where} {column}[{place}]") for place, value in enumerate(values))
    ratings = dict(row.get("ratings") or {})
    if row.get("scores") is not None:
        ratings.setdefault("score", row["scores"])
    for name, scores in ratings.items():
        if not isinstance(scores, list | tuple) or len(scores) != len(completions):
            raise DataError(
                f"{where}: rating {name!r} needs a list with one number for each of {len(completions)} answers"
            )
    return PreferenceGroup(
        _prompt(where, row),
        completions,
        ratings={name: tuple(_number(where, name, score) for score in scores) for name, scores in ratings.items()},
        group_id=where,
        metadata={k: v for k, v in row.items() if k not in ("prompt", column, "ratings", "scores")},
    )


def _gather(rows: Iterator[tuple[str, Any]], column: str) -> list[PreferenceGroup]:
    """Put the answers of one prompt together."""
    buckets: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, row in rows:
        buckets.setdefault(text_key(_prompt(where, row)), []).append((where, row))
    groups = []
    for own in buckets.values():
        where, row = own[0]
        texts = tuple(as_text(_need(place, item, column), f"{place} {column}") for place, item in own)
        others = [name for name in row if name not in ("prompt", column)]
        numeric = [name for name in others if all(_is_number(item.get(name)) for _, item in own)]
        ratings = {name: tuple(_number(place, name, item.get(name)) for place, item in own) for name in numeric}
        metadata = {name: row[name] for name in others if name not in numeric}
        groups.append(PreferenceGroup(_prompt(where, row), texts, ratings=ratings, group_id=where, metadata=metadata))
    return groups


def _prompt(where: str, row: Mapping[str, Any]) -> Text:
    return as_text(_need(where, row, "prompt"), f"{where} prompt")


def _need(where: str, row: Mapping[str, Any], column: str) -> Any:
    if row.get(column) is None:
        raise DataError(f"{where}: column {column!r} is missing or empty; every row of samples needs it")
    return row[column]


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _number(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: rating {name!r} holds {str(value)[:40]!r}, which is no number") from None
