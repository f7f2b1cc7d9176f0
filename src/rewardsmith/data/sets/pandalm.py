"""PandaLM test set (Wang et al. 2023, arXiv 2306.05087): two answers to an instruction, judged by three annotators.

Every annotator gives one comparison, so agreement can be computed; `metadata["majority"]` is what two of three say
(0 tie, 1 first, 2 second). Empty answers were judged too and stay. Answers that the JSON file holds as booleans are no
text any more and their rows are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.formats.trl import ask
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

ANNOTATORS = ("annotator1", "annotator2", "annotator3")
ANSWERS = ("response1", "response2")


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a row, with one comparison an annotator."""
    return read_each(rows, _read_row)


def _read_row(row: Row, where: str) -> PreferenceGroup:
    answers = [_answer(row, name, where) for name in ANSWERS]
    votes = [_vote(row, name, where) for name in ANNOTATORS]
    asked = [check_text(row.get(name) or "", where, name, empty=True) for name in ("instruction", "input")]
    prompt, completions = ask(check_prompt("\n\n".join(filter(str.strip, asked)), where, "instruction"), answers)
    winner, count = Counter(votes).most_common(1)[0]
    first, mark, second = str(row.get("cmp_key") or "").partition("_")
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=tuple(_comparison(vote, name) for vote, name in zip(votes, ANNOTATORS, strict=True)),
        models=(first, second) if mark else (),
        group_id=str(row.get("idx", where)),
        metadata={"majority": winner if count > 1 else None, "motivation_app": row.get("motivation_app")},
    )


def _answer(row: Row, column: str, where: str) -> str:
    value = require(row, column, where)
    if isinstance(value, bool):
        raise row_error(where, "boolean answer", f"column {column!r} is the JSON boolean {value}, not text")
    return check_text(value, where, column, empty=True)


def _vote(row: Row, column: str, where: str) -> int:
    vote = require(row, column, where)
    if isinstance(vote, bool) or vote not in (0, 1, 2):
        raise row_error(where, "unknown label", f"column {column!r} is {describe(vote)}; accepted: 0 (tie), 1, 2")
    return int(vote)


def _comparison(vote: int, annotator: str) -> Comparison:
    if vote == 0:
        return Comparison(0, 1, "tie", annotator=annotator)
    return Comparison(vote - 1, 2 - vote, annotator=annotator)


ENTRY = Entry(
    name="pandalm",
    summary="PandaLM test set: two answers to an instruction, three annotators each, ties",
    licence="Apache-2.0",
    paper="2306.05087",
    hub_id=None,
    read=read,
    columns=frozenset({"instruction", *ANSWERS, *ANNOTATORS}),
    homepage="https://github.com/WeOpenML/PandaLM",
)
