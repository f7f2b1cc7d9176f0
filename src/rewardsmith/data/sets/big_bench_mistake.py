"""BIG-Bench Mistake (Tyen et al. 2023, arXiv 2311.08516): reasoning in steps with its first mistake.

`mistake_index` counts from 0, null means that no step is wrong. The final answer may be wrong without a mistake and
right with one; the rating "answer_right" compares `answer` with `target`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rewardsmith.data.formats.cells import require
from rewardsmith.data.formats.trl import check_steps, ratings_until, step_group
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import PreferenceGroup


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a reasoning; no comparisons, steps and ratings in the metadata."""
    return read_each(rows, _read_trace)


def _read_trace(row: Row, where: str) -> PreferenceGroup:
    steps = check_steps(require(row, "steps", where), where, "steps")
    if "mistake_index" not in row:
        raise row_error(where, "missing column", "column 'mistake_index' is missing; null means no mistake")
    ratings = ratings_until(_first_mistake(row["mistake_index"], where), len(steps), where)
    extra = {"answer": row.get("answer"), "target": row.get("target"), "task": file_stem(where)}
    question = check_prompt(require(row, "input", where), where, "input")
    group = step_group(question, steps, ratings, where, {name: v for name, v in extra.items() if v not in (None, "")})
    right = None if row.get("target") is None else float(row.get("answer") == row["target"])
    return replace(group, ratings={**group.ratings, "answer_right": (right,)})


def _first_mistake(value: object, where: str) -> int:
    # A column with nulls comes as floats from some exports.
    if value is None or value != value:
        return -1
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        raise row_error(where, "unknown label", f"mistake_index is {describe(value)}; give a step from 0, or null")
    return int(value)


ENTRY = Entry(
    name="big-bench-mistake",
    summary="BIG-Bench Mistake: reasoning in steps with the first mistake, five tasks",
    licence="Apache-2.0",
    paper="2311.08516",
    hub_id=None,
    read=read,
    columns=frozenset({"input", "steps", "target", "mistake_index"}),
    homepage="https://github.com/WHGTyen/BIG-Bench-Mistake",
)
