"""What a reader file declares: one data set, where it comes from, and how its rows become groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.errors import DataError, RowError, row_error
from rewardsmith.records import PreferenceGroup

SPLIT_FILE = re.compile(r"(train|test|validation|valid|dev)(-\d+-of-\d+.*)?")
SPLIT_END = re.compile(r"[-_](train|test|validation|valid|dev)$")

Row = Mapping[str, Any]
Rows = Iterable[tuple[str, Row]]
# A reader gives a group, or the error of a row that it leaves out: the caller raises it or counts it by its reason.
Read = Iterator[PreferenceGroup | RowError]


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Args:
        name: what the user types as `--reader`.
        summary: one line: what is compared, who judged.
        licence: as its authors state it.
        paper: arXiv id or URL.
        hub_id: "owner/name" on the hub, or None when it is published elsewhere (then `homepage` says where).
        read: rows in the published layout, as (where, row), to groups; lazy, in order.
        columns: a row with all of these columns is taken to be of this data set when no reader is named; empty
            when the columns alone cannot tell.
        homepage: where it is published when not on the hub.
        suffixes: which files of a folder hold its rows.
        files: patterns of the names of a folder's files that hold its rows, when the folder holds others too.
        labels: who judged: "human", "AI", "automatic" or "constructed".
        variants: other ways to read the same rows, such as by one attribute; asked for as "name:variant".
        unfold: how one object that holds many rows is taken apart, when it is published as one.
        subset: the configuration or folder of the hub's repository that holds the rows, when it holds several sets.
        split: which split of the hub is read when none is named; None means "train".
        fits: looks at the cells of a first row, where other rows may have the same columns.
    """

    name: str
    summary: str
    licence: str
    paper: str
    hub_id: str | None
    read: Callable[[Rows], Read]
    columns: frozenset[str] = frozenset()
    homepage: str | None = None
    suffixes: tuple[str, ...] = (".json", ".jsonl", ".gz", ".zst", ".xz", ".parquet", ".arrow", ".csv")
    files: tuple[str, ...] = ()
    labels: str = "human"
    variants: Mapping[str, Callable[[Rows], Read]] = field(default_factory=dict)
    unfold: Callable[[Rows], Rows] | None = None
    subset: str | None = None
    split: str | None = None
    fits: Callable[[Row], bool] | None = None

    @property
    def paper_url(self) -> str:
        """Where the paper is: an arXiv id becomes its address."""
        number = re.fullmatch(r"(?:arXiv[: ])?(\d{4}\.\d{4,5})", self.paper)
        return f"https://arxiv.org/abs/{number[1]}" if number else self.paper

    @property
    def hub_place(self) -> str | None:
        """What to type to read it from the hub: its id, with the subset where there are several sets."""
        return f"{self.hub_id}/{self.subset}" if self.hub_id and self.subset else self.hub_id

    @property
    def url(self) -> str:
        """Where the data set is published."""
        if self.hub_id is not None:
            return f"https://huggingface.co/datasets/{self.hub_id}"
        homepage = self.homepage or ""
        return homepage if "://" in homepage or not homepage else f"https://{homepage}"


def read_each(rows: Rows, read_one: Callable[[Row, str], PreferenceGroup]) -> Read:
    """Read every row by itself; the error of a row is given in its place, so that reading goes on."""
    for where, row in rows:
        try:
            yield read_one(row, where)
        except RowError as error:
            yield error
        except DataError as error:
            yield row_error(where, "unusable row", str(error))


def subset_of(where: str) -> str:
    """Give the subset that a place names: its file, or the folder of a file that is named for a split alone.

    "helpful-base/train.jsonl.gz:row 3" and "helpful-base-test.jsonl.gz:row 3" are both "helpful-base".
    """
    stem = file_stem(where)
    if SPLIT_FILE.fullmatch(stem):
        return where.rpartition("/")[0].rpartition("/")[2]
    return SPLIT_END.sub("", stem)


def file_stem(where: str) -> str:
    """Give the name of the file in "folder/name.jsonl.gz:row 3" without its endings; "" for rows of no file."""
    place, mark, _ = where.rpartition(":row ")
    return place.rpartition("/")[2].split(".")[0] if mark else ""
