"""EvalBiasBench (Park et al. 2024, arXiv 2407.06551): pairs built to lure a judge by one of six biases.

Published as one object that maps each bias to its list of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import labelled_pair
from rewardsmith.errors import RowError
from rewardsmith.records import PreferenceGroup


def unfold(rows: Rows) -> Rows:
    """Give the pairs of every bias one by one; rows that are pairs already pass."""
    for where, row in rows:
        if "response1" in row or not any(isinstance(pairs, list) for pairs in row.values()):
            yield where, row
            continue
        for bias, pairs in row.items():
            for index, pair in enumerate(pairs if isinstance(pairs, list) else [pairs]):
                yield f"{where} {bias}[{index}]", pair if isinstance(pair, dict) else {}


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a pair; `label` is 1 or 2, the good response, and the bias is the subset."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    metadata = {"subset": row["bias"]} if row.get("bias") else {}
    return labelled_pair(row, where, "instruction", ("response1", "response2"), metadata)


ENTRY = Entry(
    name="evalbiasbench",
    summary="EvalBiasBench: pairs built to lure a judge by length, concreteness and four other biases",
    licence="BSD-3-Clause",
    paper="2407.06551",
    hub_id=None,
    read=read,
    columns=frozenset({"length bias", "concreteness", "empty reference"}),
    homepage="https://github.com/ncsoft/offsetbias",
    labels="constructed",
    unfold=unfold,
)
