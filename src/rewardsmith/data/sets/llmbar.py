"""LLMBar (Zeng et al. 2023, arXiv 2310.07641), its natural, adversarial and processed sets: which output follows."""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import labelled_pair
from rewardsmith.errors import RowError
from rewardsmith.records import PreferenceGroup


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a row; `label` is 1 or 2, the better output."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    folder, slash, _ = where.rpartition("/")
    return labelled_pair(row, where, "input", ("output_1", "output_2"), {"subset": folder} if slash else {})


ENTRY = Entry(
    name="llmbar",
    summary="LLMBar: which of two outputs follows the instruction, natural and processed sets",
    licence="MIT",
    paper="2310.07641",
    hub_id=None,
    read=read,
    columns=frozenset({"input", "output_1", "output_2", "label"}),
    homepage="https://github.com/princeton-nlp/LLMBar",
    # The results of the authors' evaluators lie beside the data and repeat its rows.
    files=("dataset*",),
)
