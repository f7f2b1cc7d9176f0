"""ReasonEval's MR-MATH (Xia et al. 2024, arXiv 2404.05692): steps of solutions, some wrong, some only redundant.

Two files. In the one of invalid errors `model_output_solution_first_error_step` counts from 1, "N/A" for none. In the
one of redundant errors `rating` holds one number a step: 1 positive, 0 neutral, which is a redundant but valid step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rewardsmith.data.formats.cells import check_list, require
from rewardsmith.data.formats.trl import StepRating, check_steps, ratings_until, step_group
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import PreferenceGroup

STEPS = "model_output_step_format"
FIRST_ERROR = "model_output_solution_first_error_step"
KEPT = ("generator", "ground_truth_answer", "model_output_answer_correctness")


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a solution; no comparisons, steps and ratings in the metadata."""
    return read_each(rows, _read_solution)


def _read_solution(row: Row, where: str) -> PreferenceGroup:
    steps = check_steps(require(row, STEPS, where), where, STEPS)
    extra: dict[str, Any] = {name: row[name] for name in KEPT if row.get(name) is not None}
    if file_stem(where):
        extra["subset"] = file_stem(where)
    if "rating" in row:
        ratings = _ratings(row["rating"], len(steps), where)
        extra["redundant_steps"] = [index for index, rating in enumerate(ratings) if rating == 0]
    else:
        ratings = ratings_until(_first_error(require(row, FIRST_ERROR, where), where), len(steps), where)
    return step_group(check_prompt(require(row, "question", where), where, "question"), steps, ratings, where, extra)


def _ratings(value: object, size: int, where: str) -> list[StepRating]:
    ratings = check_list(value, where, "rating")
    if len(ratings) != size:
        raise row_error(where, "wrong length", f"'rating' has {len(ratings)} numbers for {size} steps")
    if not all(rating in (-1, 0, 1) for rating in ratings):
        raise row_error(where, "unknown label", f"'rating' is {describe(ratings)}; accepted: -1, 0, 1")
    return [int(rating) for rating in ratings]


def _first_error(value: Any, where: str) -> int:
    if value == "N/A":
        return -1
    if not str(value).isdigit() or int(value) < 1:
        raise row_error(where, "unknown label", f"{FIRST_ERROR} is {describe(value)}; give a step from 1, or 'N/A'")
    return int(value) - 1


ENTRY = Entry(
    name="reasoneval",
    summary="MR-MATH of ReasonEval: steps of solutions with the first wrong step, or with redundant steps",
    licence="none stated",
    paper="2404.05692",
    hub_id=None,
    read=read,
    columns=frozenset({"question", "generator", STEPS}),
    homepage="https://github.com/GAIR-NLP/ReasonEval",
)
