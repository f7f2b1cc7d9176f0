"""UKPConvArg1 (Habernal and Gurevych 2016, P16-1150): which of two arguments for one stance convinces more.

Tab-separated files `#id, label, a1, a2` whose name is the topic and the stance: "topic-in-words_stance-in-words". All
pairs of one file share the prompt, so merging gives one graph a stance. A file named otherwise has no prompt.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

LABELS = {"a1": (0, 1), "a2": (1, 0)}


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a pair of arguments."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    label = str(require(row, "label", where))
    if label == "equal":
        comparison = Comparison(0, 1, "tie")
    elif label in LABELS:
        comparison = Comparison(*LABELS[label])
    else:
        raise row_error(where, "unknown label", f"column 'label' is {describe(label)}; accepted: a1, a2, equal")
    topic, _, stance = (part.replace("-", " ").strip() for part in file_stem(where).partition("_"))
    return PreferenceGroup(
        prompt=f"Topic: {topic}\nStance: {stance}\nArgue for this stance.\n\n" if stance else "",
        completions=tuple(check_text(require(row, name, where), where, name) for name in ("a1", "a2")),
        comparisons=(comparison,),
        group_id=str(require(row, "#id", where)),
        metadata={"topic": topic, "stance": stance} if stance else {},
    )


ENTRY = Entry(
    name="ukp-convarg1",
    summary="UKPConvArg1: the more convincing of two arguments for one stance, many pairs a stance",
    licence="CC-BY-4.0",
    paper="https://aclanthology.org/P16-1150",
    hub_id=None,
    read=read,
    columns=frozenset({"#id", "label", "a1", "a2"}),
    homepage="https://github.com/UKPLab/acl2016-convincing-arguments",
    suffixes=(".csv",),
)
