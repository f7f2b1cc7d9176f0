"""FineGrainedRLHF (Wu et al. 2023, arXiv 2306.01693): four answers to a question, all six pairs judged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from rewardsmith.data.formats.cells import check_list, check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, PreferenceGroup

PAIRS = tuple(combinations(range(4), 2))
ANSWERS = tuple(f"prediction {number}" for number in range(1, 5))


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a question; `preference` lists 1v2, 1v3, 1v4, 2v3, 2v4, 3v4 as 0 tie, 1 first, 2 second."""
    return read_each(rows, _read_question)


def _read_question(row: Row, where: str) -> PreferenceGroup:
    outcomes = check_list(require(row, "preference", where), where, "preference")
    if len(outcomes) != len(PAIRS) or not all(outcome in (0, 1, 2) for outcome in outcomes):
        raise row_error(where, "wrong outcome", f"preference must be six numbers of 0, 1 and 2, not {outcomes!r}")
    passages = "\n".join(
        " ".join(map(str, check_list(passage, where, "passages")))
        for passage in check_list(require(row, "passages", where), where, "passages")
    )
    question = check_prompt(require(row, "question", where), where, "question")
    return PreferenceGroup(
        prompt=f"{passages}\n\n{question}\n\n",
        completions=tuple(check_text(require(row, name, where), where, name, empty=True) for name in ANSWERS),
        comparisons=tuple(_comparison(i, j, outcome) for (i, j), outcome in zip(PAIRS, outcomes, strict=True)),
        group_id=where,
        metadata={name: row[name] for name in ("gold", "feedback") if row.get(name) is not None},
    )


def _comparison(first: int, second: int, outcome: int) -> Comparison:
    if outcome == 0:
        return Comparison(first, second, "tie")
    return Comparison(first, second) if outcome == 1 else Comparison(second, first)


ENTRY = Entry(
    name="finegrained-rlhf",
    summary="FineGrainedRLHF: four long answers with their passages, all six pairs judged, ties",
    licence="Apache-2.0",
    paper="2306.01693",
    hub_id=None,
    read=read,
    columns=frozenset({"question", "passages", "preference", *ANSWERS}),
    homepage="https://github.com/allenai/FineGrainedRLHF",
    files=("*_feedback.json",),
)
