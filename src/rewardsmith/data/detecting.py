"""Rows of any path, and which format or published data set they are of: by columns, hub id or the name of a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewardsmith.data.formats import ALL, FOLDERS, FORMATS
from rewardsmith.data.formats.format import Format
from rewardsmith.data.merging import deduplicate
from rewardsmith.data.sets import CATALOGUE
from rewardsmith.errors import ConfigError, DataError, nearest, row_error
from rewardsmith.files import reading
from rewardsmith.files.reading import data_files
from rewardsmith.files.tables import OnBroken, Row
from rewardsmith.records import PreferenceGroup

PLACES = [(entry.name, entry.hub_id, entry.hub_place) for entry in CATALOGUE.values()]


def read_rows(path: str | Path, *, split: str | None = None, on_broken: OnBroken | None = None) -> Iterator[Row]:
    """Yield the rows of a file or folder as `files.reading.read_rows` does, also of folders of the known tools."""
    return reading.read_rows(path, split=split, on_broken=on_broken, folders=FOLDERS)


def parse_row(row: Mapping[str, Any], where: str = "row 0", format: str | None = None) -> PreferenceGroup:
    """Read one row as a group of completions with its comparisons.

    Columns that the format does not know are kept in `metadata`. Two identical sides are one completion with a
    comparison `better == worse`.

    Args:
        where: names the row in errors, such as "train.jsonl:row 12".
        format: a name from `FORMATS`; None chooses it from the columns.

    Raises:
        DataError: the row cannot be used; the message names row, column and remedy.
        ConfigError: `format` is unknown.
    """
    if not isinstance(row, Mapping):
        raise row_error(where, "wrong type", f"a row must be an object with named columns, not {type(row).__name__}")
    return deduplicate(find_format(row, where, format).read(row, where))


def find_format(row: Mapping[str, Any], where: str, name: str | None = None) -> Format:
    """Return the format called `name`, or the one whose columns the row has.

    Raises:
        RowError: no format fits the columns, or more than one.
        ConfigError: `name` is unknown.
    """
    if name is not None:
        if name not in FORMATS:
            near = nearest(name, FORMATS)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(FORMATS)}"
            raise ConfigError(f"unknown format {name!r}; {hint}")
        return FORMATS[name]
    try:
        return FORMATS[detect_format(row)]
    except DataError as error:
        raise row_error(where, "unknown columns", str(error)) from error


def detect_format(columns: Iterable[str]) -> str:
    """Choose the format of rows from their column names.

    When two formats fit, nothing is guessed: the error names both.

    Raises:
        DataError: no format fits, or more than one.
    """
    return _detect(frozenset(map(str, columns)))


# Rows of one file have one set of columns, or a few: each set is looked at once, and a change is never missed.
@lru_cache(maxsize=1024)
def _detect(names: frozenset[str]) -> str:
    shown = ", ".join(sorted(names)) or "none"
    fitting = [f for f in ALL if _claims(f, names)]
    fitting = [f for f in fitting if f.wins] or fitting
    # A layout that names more of the columns is the better explanation: alpaca's instruction beside chosen and
    # rejected is not a TRL pair with an implicit prompt.
    fitting = [f for f in fitting if not any(other.name in f.yields_to for other in fitting)]
    if len(fitting) == 1:
        return fitting[0].name
    if fitting:
        titles = ", ".join(f.name for f in fitting)
        raise DataError(f"the columns ({shown}) fit several formats: {titles}; name one with --reader")
    raise DataError(
        f"the columns ({shown}) fit no format; give chosen and rejected, or completions with ranks or scores, "
        f"or name one of: {', '.join(FORMATS)}"
    )


def _claims(format: Format, names: frozenset[str]) -> bool:
    if any(signature <= names for signature in format.signatures):
        return True
    return format.pattern is not None and any(map(format.pattern.fullmatch, names))


def find_name(source: str) -> str | None:
    """Give the reader of a hub id ("owner/name" or "owner/name/subset") that exactly one entry declares."""
    exact = [name for name, _, place in PLACES if place == source]
    title = "/".join(source.split("/")[:2])
    names = exact or [name for name, hub_id, _ in PLACES if hub_id == title]
    return names[0] if len(names) == 1 else None


def find_copy(path: Path) -> str | None:
    """Give the reader of a local copy of a hub repository, when its folders are named for it.

    "copies/owner/name/..." as one lays them out by hand, or "datasets--owner--name/snapshots/..." as the hub's cache.
    """
    parts = path.absolute().parts
    cached = [part.removeprefix("datasets--").replace("--", "/") for part in parts if part.startswith("datasets--")]
    names = (find_name(title) for title in (*cached, *(f"{a}/{b}" for a, b in pairwise(parts))))
    return next((name for name in names if name is not None), None)


def choose(columns: Iterable[str]) -> str | None:
    """Choose the data set whose layout has these columns; None leaves the row to the general formats.

    The entry that names more of the columns wins, also over a general format.

    Raises:
        DataError: two entries fit equally; both are named.
    """
    names = {str(column) for column in columns}
    fitting = [entry for entry in CATALOGUE.values() if entry.columns and entry.columns <= names]
    fitting = [entry for entry in fitting if not any(entry.columns < other.columns for other in fitting)]
    fitting = [entry for entry in fitting if _is_more_specific(entry.columns, names)]
    if len(fitting) > 1:
        titles = [entry.name for entry in fitting]
        raise DataError(
            f"the columns ({', '.join(sorted(names))}) fit the data sets {' and '.join(titles)}; "
            f"name one with --reader (reader={titles[0]!r})"
        )
    return fitting[0].name if fitting else None


def _is_more_specific(columns: frozenset[str], names: set[str]) -> bool:
    """Whether no general format reads such rows, or the entry's columns say more than the format's do."""
    try:
        format = detect_format(names)
    except DataError:
        return True
    return any(signature < columns for signature in FORMATS[format].signatures)


def choose_for_path(path: Path, split: str | None) -> str | None:
    """Choose the data set of a file or folder by the first row of its files; None leaves it to the general formats.

    Raises:
        DataError: the files of a folder are of different data sets; they are named.
    """
    is_plain_folder = path.is_dir() and not any((path / name).exists() for name in ("dataset_dict.json", "state.json"))
    found: dict[str, Path] = {}
    for file in data_files(path) if is_plain_folder else [path]:
        first = next(iter(_first_row(file, split if file == path else None)), None)
        if first is None:
            continue
        try:
            name = choose(first)
        except DataError as error:
            raise DataError(f"{file.name}: {error}") from error
        if name is not None:
            found.setdefault(name, file)
        elif not found and _is_general(first):
            return None
    if len(found) > 1:
        places = ", ".join(f"{name} ({file.name})" for name, file in found.items())
        raise DataError(f"{path}: holds several data sets: {places}; name one with --reader, or give one file")
    return next(iter(found), None)


def _first_row(path: Path, split: str | None) -> list[Mapping[str, Any]]:
    """Read one row; what cannot be read says so when it is read in earnest."""
    try:
        return [row for _, row in itertools.islice(read_rows(path, split=split), 1)]
    except DataError:
        return []


def _is_general(columns: Iterable[str]) -> bool:
    try:
        return bool(detect_format(columns))
    except DataError:
        return False


def find_hint(row: Mapping[str, Any]) -> str | None:
    """Say which reader would make more of a row that a general format reads."""
    chosen = row.get("chosen")
    if isinstance(chosen, str) and "prompt" not in row and chosen.startswith("\n\nHuman:"):
        return "the texts are dialogues in the layout of HH-RLHF; --reader hh-rlhf turns them into messages"
    return None
