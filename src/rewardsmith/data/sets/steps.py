"""Reasoning in steps: one form for all data sets that judge them, so that a step-wise objective reads any of them.

The completion is the whole reasoning. `metadata["steps"]` holds its steps, `metadata["step_ratings"]` one rating each
(1 right, 0 neutral, -1 wrong, None not judged) and `metadata["first_error"]` the index of the first wrong step, from
0, or -1 when there is none (as in ProcessBench).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.data.row_values import check_list, check_text
from rewardsmith.data.sets.dialogue import ask
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup

StepRating = int | None


def check_steps(value: Any, where: str, column: str) -> list[str]:
    """Accept a non-empty list of texts; a step in a list of its own, as ReasonEval has them, is unwrapped."""
    steps = check_list(value, where, column)
    if not steps:
        raise row_error(where, "no steps", f"column {column!r} is an empty list; give the steps of the reasoning")
    parts = [step[0] if isinstance(step, list) and step else step for step in steps]
    return [check_text(step, where, f"{column}[{index}]", empty=True) for index, step in enumerate(parts)]


def ratings_until(first_error: int, size: int, where: str) -> list[StepRating]:
    """Give the ratings that the first wrong step implies: right before it, not judged after it; -1 is all right."""
    if not -1 <= first_error < size:
        raise row_error(where, "out of range", f"the first mistake is step {first_error} of {size} (from 0)")
    if first_error == -1:
        return [1] * size
    return [1] * first_error + [-1] + [None] * (size - first_error - 1)


def step_group(
    question: str, steps: Sequence[str], ratings: Sequence[StepRating], where: str, extra: Mapping[str, Any]
) -> PreferenceGroup:
    """Build the group of one reasoning: no comparisons, the rating "worst_step", steps in the metadata."""
    first_error = ratings.index(-1) if -1 in ratings else -1
    prompt, completions = ask(question, ["\n".join(steps)])
    model = extra.get("generator")
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        ratings={"worst_step": (min(float(rating) for rating in ratings if rating is not None),)},
        models=(str(model),) if model is not None else (),
        group_id=where,
        metadata={"steps": list(steps), "step_ratings": list(ratings), "first_error": first_error, **extra},
    )
