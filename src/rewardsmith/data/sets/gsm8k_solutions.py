"""GSM8K example solutions (Cobbe et al. 2021, arXiv 2110.14168): model solutions, checked against the true answer."""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.formats.cells import check_flag, check_mapping, check_text, require
from rewardsmith.data.formats.trl import ask
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, PreferenceGroup

QUESTION, TRUTH = "question", "ground_truth"


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a question: the rating "correct" is 1 or 0, each correct solution beats each incorrect one."""
    return read_each(rows, _read_question)


def _read_question(row: Row, where: str) -> PreferenceGroup:
    models = [name for name, value in row.items() if isinstance(value, dict) and "is_correct" in value]
    if not models:
        raise row_error(where, "missing column", "no column holds an object with 'solution' and 'is_correct'")
    cells = [check_mapping(row[name], where, name) for name in models]
    solutions = [check_text(require(cell, "solution", where), where, "solution", empty=True) for cell in cells]
    correct = [check_flag(require(cell, "is_correct", where), where, "is_correct") for cell in cells]
    prompt, completions = ask(check_prompt(require(row, QUESTION, where), where, QUESTION), solutions)
    right, wrong = ([i for i, flag in enumerate(correct) if flag is wanted] for wanted in (True, False))
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=tuple(Comparison(i, j) for i in right for j in wrong),
        ratings={"correct": tuple(float(flag) for flag in correct)},
        models=tuple(models),
        group_id=where,
        metadata={TRUTH: row[TRUTH]} if row.get(TRUTH) is not None else {},
    )


ENTRY = Entry(
    name="gsm8k-solutions",
    summary="GSM8K: four model solutions a question, correct ones beat incorrect ones",
    licence="MIT",
    paper="2110.14168",
    hub_id=None,
    read=read,
    columns=frozenset({QUESTION, TRUTH, "6b_finetuning", "175b_finetuning"}),
    homepage="https://github.com/openai/grade-school-math",
    labels="automatic",
)
