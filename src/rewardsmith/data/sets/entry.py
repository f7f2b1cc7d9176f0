"""What the file of a data set declares: its origin, how its rows become groups; and layouts that several sets share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.data.formats.cells import check_mapping, check_number, check_text, find_role_faults
from rewardsmith.data.formats.pairs import common_length
from rewardsmith.data.formats.rankings import scored_comparisons
from rewardsmith.errors import DataError, RowError, row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup

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
    """Return the subset that a place names: its file, or the folder of a file that is named for a split alone.

    "helpful-base/train.jsonl.gz:row 3" and "helpful-base-test.jsonl.gz:row 3" are both "helpful-base".
    """
    stem = file_stem(where)
    if SPLIT_FILE.fullmatch(stem):
        return where.rpartition("/")[0].rpartition("/")[2]
    return SPLIT_END.sub("", stem)


def file_stem(where: str) -> str:
    """Return the name of the file in "folder/name.jsonl.gz:row 3" without its endings; "" for rows of no file."""
    place, mark, _ = where.rpartition(":row ")
    return place.rpartition("/")[2].split(".")[0] if mark else ""


Scores = Mapping[str, float]
MEAN = "mean"


def split_turns(text: object, marks: Mapping[str, str], where: str, column: str) -> tuple[Message, ...]:
    """Turn a marked dialogue into messages.

    Args:
        text: such as "\\n\\nHuman: ...\\n\\nAssistant: ...".
        marks: what stands before a turn, with the role that speaks, such as {"\\n\\nHuman:": "user"}.
        where, column: name the text in errors.

    Raises:
        RowError: no text, text before the first mark, or turns that are no conversation: empty, not alternating,
            not begun by the user or not ended by the assistant. The fault is the reason under which it is counted.
    """
    checked = check_text(text, where, column)
    pattern = re.compile("|".join(re.escape(mark) for mark in marks))
    found = list(pattern.finditer(checked))
    if not found or checked[: found[0].start()].strip():
        expected = " or ".join(map(repr, marks))
        raise row_error(where, "no dialogue", f"{column} must begin with {expected}; it begins {checked[:40]!r}")
    ends = [*(match.start() for match in found[1:]), len(checked)]
    messages = tuple(
        Message(marks[match.group()], checked[match.end() : end].strip())
        for match, end in zip(found, ends, strict=True)
    )
    faults = find_role_faults(messages)
    if faults:
        raise row_error(where, faults[0], f"{column}: {'; '.join(faults)}; repair the turns or leave the row out")
    return messages


def split_shared(
    dialogues: Sequence[tuple[Message, ...]],
) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """Return the turns that all dialogues begin with, and what follows in each; each keeps at least its last turn."""
    shared = common_length(dialogues)
    return dialogues[0][:shared], tuple(dialogue[shared:] for dialogue in dialogues)


@dataclass(frozen=True)
class RatedAnswer:
    """One answer with its author and its scores by attribute."""

    text: str
    model: str | None
    scores: Scores


def check_scores(value: object, where: str, column: str) -> dict[str, float]:
    """Accept an object of finite numbers; what is null is left out."""
    scores = check_mapping(value, where, column)
    return {name: check_number(score, where, f"{column}.{name}") for name, score in scores.items()}


def rating_columns(answers: Sequence[RatedAnswer]) -> dict[str, tuple[float | None, ...]]:
    """Return each attribute's scores over all answers, None where an answer has none."""
    names = dict.fromkeys(name for answer in answers for name in answer.scores)
    return {name: tuple(answer.scores.get(name) for answer in answers) for name in names}


def compare_by(answers: Sequence[RatedAnswer], by: str, where: str) -> tuple[Comparison, ...]:
    """Compare all answers by one attribute, or by the mean of all; equal is a tie.

    Raises:
        RowError: an answer lacks the attribute, or any score at all.
    """
    scores = []
    for index, answer in enumerate(answers):
        values = list(answer.scores.values()) if by == MEAN else [answer.scores.get(by)]
        known = [value for value in values if value is not None]
        if not known:
            raise row_error(where, "missing score", f"answer {index} has no score {by!r}; name another attribute")
        scores.append(round(math.fsum(known) / len(known), 9))
    return scored_comparisons(scores)
