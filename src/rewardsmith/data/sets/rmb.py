"""RMB (Zhou et al. 2024, arXiv 2410.09893): pairs, and best-of-n lists whose best answer beats every other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import check_turns, conversation
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a row, of the pairwise set or of the best-of-n set; fields may be dictionaries in text form."""
    return read_each(rows, _read_row)


def _read_row(row: Row, where: str) -> PreferenceGroup:
    if "bon_best" in row:
        losers = check_list(_unwrap(require(row, "loser_list", where), where), where, "loser_list")
        sides = [row["bon_best"], *losers]
    else:
        sides = [require(row, "chosen", where), require(row, "reject", where)]
    answers = [check_mapping(_unwrap(side, where), where, "answer") for side in sides]
    asked = conversation(_unwrap(require(row, "conversation_input", where), where), where, "conversation_input")
    prompt = check_turns(asked, where, "conversation_input", last="user")
    identity = row.get("pair_uid") or row.get("bon_uid")
    return PreferenceGroup(
        prompt=prompt,
        completions=tuple(
            (Message("assistant", check_text(require(a, "answer", where), where, "answer", empty=True)),)
            for a in answers
        ),
        comparisons=tuple(Comparison(0, loser) for loser in range(1, len(answers))),
        models=tuple(str(a["llm_name"]) if a.get("llm_name") else None for a in answers),
        group_id=str(identity or where),
        metadata=_metadata(row, where),
    )


def _metadata(row: Row, where: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"subset": file_stem(where)} if file_stem(where) else {}
    return metadata | ({"category": row["category_path"]} if row.get("category_path") else {})


def _unwrap(value: object, where: str) -> Any:
    """Read a dictionary or list that was written as text in Python's form."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        message = f"a field is neither an object nor one in text form: {describe(value)}"
        raise row_error(where, "broken field", message) from error


ENTRY = Entry(
    name="rmb",
    summary="RMB: pairs and best-of-n lists of long chat answers",
    licence="none stated",
    paper="2410.09893",
    hub_id=None,
    read=read,
    columns=frozenset({"conversation_input", "category_path"}),
    homepage="https://github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark",
    labels="AI",
)
