"""Gold from answers that can be checked: the last number of a solution against the known one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rewardsmith.data.texts import plain_text
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup

NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|[-+]?\.\d+")
# What stands after the last of these is the answer, as in GSM8K ("#### 18", "A: 18") and MATH ("\boxed{18}").
MARKS = ("####", "\\boxed{", "A:", "answer is", "Answer:")
CORRECT = "correct"


def final_number(text: str) -> float | None:
    """Give the number that a solution ends with: the first after the last mark of an answer, else the last of all.

    Example:
        >>> final_number("3 x 6 = 18, so she earns $1,018.00. #### 1,018")
        1018.0
    """
    place = max((text.rfind(mark) + len(mark) for mark in MARKS if mark in text), default=None)
    found = NUMBER.findall(text[place:]) if place is not None else []
    if found:
        return _value(found[0])
    found = NUMBER.findall(text)
    return _value(found[-1]) if found else None


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


def _truth(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return final_number(value) if isinstance(value, str) else None


def _value(text: str) -> float | None:
    top, _, bottom = text.replace(",", "").partition("/")
    if bottom and float(bottom) == 0:
        return None
    return float(top) / float(bottom or 1)
