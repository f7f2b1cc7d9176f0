"""Anthropic HH-RLHF (Bai et al. 2022, arXiv 2204.05862): two dialogues that differ from some turn on.

Rows with identical sides are kept as a comparison that prefers none. Dialogues whose turns do not alternate, or whose
judged answer is empty, are left out and counted: a chat template refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.formats.cells import require
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each, subset_of
from rewardsmith.data.sets.layouts import split_shared, split_turns
from rewardsmith.errors import RowError
from rewardsmith.records import Comparison, PreferenceGroup

MARKS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a row, its text turned into messages."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    sides = [split_turns(require(row, name, where), MARKS, where, name) for name in ("chosen", "rejected")]
    prompt, completions = split_shared(sides)
    subset = subset_of(where)
    metadata = {"subset": subset} if subset else {}
    return PreferenceGroup(prompt, completions, (Comparison(0, 1),), group_id=where, metadata=metadata)


ENTRY = Entry(
    name="hh-rlhf",
    summary="Anthropic HH-RLHF: the more helpful or less harmful of two dialogues; a subset is a folder of it",
    licence="MIT",
    paper="2204.05862",
    hub_id="Anthropic/hh-rlhf",
    read=read,
    # The folder red-team-attempts holds transcripts without a pair.
    files=("train*", "test*", "*-train*", "*-test*"),
)
