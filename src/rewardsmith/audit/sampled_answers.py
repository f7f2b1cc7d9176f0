"""Answers that were sampled from a policy, and the gold reward that judges them.

An answer given twice counts twice: preference data keep each answer once, a best-of-n estimate must not, since a policy
does repeat itself. The gold reward may be checked: the last number of a solution against the known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.audit.caching import CachingScorer
from rewardsmith.data.detecting import read_rows
from rewardsmith.data.texts import plain_text
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup, Scorer, ScoreRequest, Text, as_text, text_key

LISTS = ("completions", "responses", "answers")
SINGLES = ("completion", "response", "answer")
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|[-+]?\.\d+")
# What stands after the last of these is the answer, as in GSM8K ("#### 18", "A: 18") and MATH ("\boxed{18}").
MARKS = ("####", "\\boxed{", "A:", "answer is", "Answer:")
CORRECT = "correct"


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """Sampled answers and what judges them.

    Args:
        groups: of prompts with their answers.
        gold: a scorer, the name of a rating, or None for the variance alone.
    """

    groups: Sequence[PreferenceGroup]
    gold: Scorer | str | None = None

    def score(self, scorer: CachingScorer) -> list[tuple[PreferenceGroup, list[float]]]:
        """Return the groups all of whose answers can be scored, with their rewards."""
        rows = scorer.try_requests([ScoreRequest.of_group(group) for group in self.groups])
        scored = []
        for group, row in zip(self.groups, rows, strict=True):
            rewards = [reward for reward in row if reward is not None]
            if len(rewards) == len(row):
                scored.append((group, rewards))
        return scored


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


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _number(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: rating {name!r} holds {str(value)[:40]!r}, which is no number") from None


def final_number(text: str) -> float | None:
    """Return the number that a solution ends with: the first after the last mark of an answer, else the last of all.

    Example:
        >>> final_number("3 x 6 = 18, so she earns $1,018.00. #### 1,018")
        1018.0
    """
    place = max((text.rfind(mark) + len(mark) for mark in MARKS if mark in text), default=None)
    found = NUMBER.findall(text[place:]) if place is not None else []
    if found:
        return _number_of(found[0])
    found = NUMBER.findall(text)
    return _number_of(found[-1]) if found else None


def rate_final_numbers(groups: Sequence[PreferenceGroup], column: str) -> list[PreferenceGroup]:
    """Add the rating "correct": 1 where an answer's final number is that of `metadata[column]`, else 0.

    Groups without such an entry are left as they are, and so without a gold reward.

    Raises:
        DataError: no group has the entry with a number.
    """
    rated, num_checked = [], 0
    for group in groups:
        truth = _truth(group.metadata.get(column))
        if truth is None:
            rated.append(group)
            continue
        num_checked += 1
        found = [final_number(plain_text(completion)) for completion in group.completions]
        correct = tuple(
            float(value is not None and abs(value - truth) <= 1e-6 * max(1.0, abs(truth))) for value in found
        )
        rated.append(replace(group, ratings={**group.ratings, CORRECT: correct}))
    if not num_checked:
        known = sorted({name for group in groups for name in group.metadata})
        raise DataError(f"no row has a number in the column {column!r} (columns found: {', '.join(known) or 'none'})")
    return rated


def _truth(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return final_number(value) if isinstance(value, str) else None


def _number_of(text: str) -> float | None:
    top, _, bottom = text.replace(",", "").partition("/")
    if bottom and float(bottom) == 0:
        return None
    return float(top) / float(bottom or 1)
