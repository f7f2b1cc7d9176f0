"""Math-Shepherd (Wang et al. 2023, arXiv 2312.08935): solutions in steps, each marked good (+) or bad (-) by rollouts.

`input` is the problem and its steps, each ended by the mark "ки"; `label` is the same text with + or - for each mark.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.formats.trl import step_group
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import check_prompt, kept
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup

MARK = "ки"
SIGNS = {"+": 1, "-": -1}
FIRST_STEP = re.compile(r"\s*(?=Step 1\s*:)")


def read(rows: Rows) -> Read:
    """Give one group a solution. Rows whose input and label do not match are left out."""
    return read_each(rows, _group)


def _group(row: Row, where: str) -> PreferenceGroup:
    text = check_text(require(row, "input", where), where, "input")
    pieces, ratings = _signs(text, check_text(require(row, "label", where), where, "label"), where)
    parts = FIRST_STEP.split(pieces[0], maxsplit=1)
    if len(parts) != 2:
        raise row_error(where, "no first step", "column 'input' has no 'Step 1:' before the first mark; remove the row")
    problem = check_prompt(parts[0], where, "input")
    steps = [check_text(piece.strip(), where, "input") for piece in (parts[1], *pieces[1:])]
    return replace(step_group(problem, steps, ratings, where, kept(row, "task")), source="math-shepherd")


def _signs(text: str, label: str, where: str) -> tuple[list[str], list[int]]:
    """Cut the input at its marks and read the sign that stands in the label for each."""
    *pieces, rest = text.split(MARK)
    if not pieces or rest.strip():
        raise row_error(where, "no mark", f"column 'input' must end with the mark {MARK!r} after its last step")
    ratings = []
    place = 0
    for number, piece in enumerate(pieces, 1):
        place += len(piece)
        sign = label[place : place + 1]
        if label[place - len(piece) : place] != piece or sign not in SIGNS:
            message = f"column 'label' does not repeat step {number} of 'input' with + or - for {MARK!r}; drop the row"
            raise row_error(where, "input and label differ", message)
        ratings.append(SIGNS[sign])
        place += 1
    return pieces, ratings


ENTRY = Entry(
    name="math-shepherd",
    summary="Math-Shepherd: solutions of GSM8K and MATH, each step marked by rollouts",
    licence="none stated",
    paper="2312.08935",
    hub_id="peiyi9979/Math-Shepherd",
    read=read,
    columns=frozenset({"input", "label", "task"}),
    labels="automatic",
)
