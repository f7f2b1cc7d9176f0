"""Rows of any path, and which format or published data set they are of: by columns, hub id or the name of a folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewardsmith.data.columns import refuse_columns
from rewardsmith.data.formats import ALL, FOLDERS, FORMATS
from rewardsmith.data.formats.cells import check_messages, check_text, looks_like_messages
from rewardsmith.data.formats.format import Format
from rewardsmith.data.formats.rankings import LEFT_OUT
from rewardsmith.data.merging import deduplicate
from rewardsmith.data.sets import CATALOGUE
from rewardsmith.errors import ConfigError, DataError, RowError, listed, nearest_or_known, row_error
from rewardsmith.files import reading
from rewardsmith.files.reading import data_files
from rewardsmith.files.tables import OnBroken, Row, split_revision
from rewardsmith.records import SYSTEM_ROLES, Message, PreferenceGroup

# Names under which people keep what was asked, in the order in which they are tried; then others that carry meaning.
_ASKED = ("prompt", "question", "query", "problem", "instruction")
PROMPTS = (*_ASKED, "user_prompt", "user_input", "input", "task", "post")
MEANT = (*PROMPTS, "context", "history", "messages", "conversation", "conversations", "document", "article")
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction", "system_text", "system_msg", "sys_prompt")
KNOWN = frozenset({"prompt", *(column for f in ALL for signature in f.signatures for column in signature)})
GUESSED = ("prompt", "system")
# What later steps read off the metadata.
READ_LATER = {"subset", LEFT_OUT}
# Columns that number rows, as pandas writes them without a name.
NUMBERS = ("", "unnamed:_0", "__index_level_0__")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Similarity of two names from which one is taken for a misspelling of the other.
NEAR = 0.8
PLACES = [(entry.name, entry.hub_id, entry.hub_place) for entry in CATALOGUE.values()]


def read_rows(path: str | Path, *, split: str | None = None, on_broken: OnBroken | None = None) -> Iterator[Row]:
    """Yield the rows of a file or folder as `files.reading.read_rows` does, also of folders of the known tools."""
    return reading.read_rows(path, split=split, on_broken=on_broken, folders=FOLDERS)


def parse_row(row: Mapping[str, Any], where: str = "row 0", format: str | None = None) -> PreferenceGroup:
    """Read one row as a group of completions with its comparisons.

    A column whose name is close to one that is known is taken for it, and a question, query or problem beside answers
    for their prompt; `plan_row` says so. Columns that are not read are kept in `metadata`. Two identical sides are one
    completion with a comparison `better == worse`.

    Args:
        where: names the row in errors, such as "train.jsonl:row 12".
        format: a name from `FORMATS`; None chooses it from the columns.

    Raises:
        DataError: the row cannot be used; the message names row, column and remedy.
        ConfigError: `format` is unknown.
    """
    return plan_row(row, where, format).read(row, where)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How rows with one set of columns are read.

    Args:
        format: their format.
        renames: column to the known one that it is taken for.
        system: whether the column `system`, or one renamed to it, is put before the prompt.
        notes: what the user should know of it, one line each.
    """

    format: Format
    renames: tuple[tuple[str, str], ...] = ()
    system: bool = False
    notes: tuple[str, ...] = ()

    def read(self, row: Mapping[str, Any], where: str) -> PreferenceGroup:
        """Read one row. Raises RowError."""
        if self.renames:
            # A guess that holds no text, such as the number of a question, is none.
            names = {c: o for c, o in self.renames if o not in GUESSED or not isinstance(row.get(c), int | float)}
            free = set(names.values()) - set(names)
            row = {names.get(column, column): value for column, value in row.items() if column not in free}
        if self.system and row.get("system"):
            row = with_system(row, where, self.format.system_place)
        try:
            group = deduplicate(self.format.read(row, where))
            # Nobody else holds the new record; a copy of every row would cost as much as reading it.
            object.__setattr__(group, "where", where)
            return group
        except RowError:
            raise
        except DataError as error:
            # What the record itself refuses, such as tools that are nested without end, does not know its row.
            raise row_error(where, "unusable row", str(error)) from error


def plan_row(row: Mapping[str, Any], where: str, name: str | None = None) -> RowPlan:
    """Return how a row is read: by the format called `name`, or by the one whose columns it has.

    Raises:
        RowError: no format fits the columns, or more than one.
        ConfigError: `name` is unknown.
    """
    if not isinstance(row, Mapping):
        raise row_error(where, "wrong type", f"a row must be an object with named columns, not {type(row).__name__}")
    if name is not None and name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; {nearest_or_known(name, FORMATS)}")
    try:
        # Arrow gives every row all columns, null where the row has none.
        plan = _plan(frozenset(str(column) for column, value in row.items() if value is not None), name)
        return plan or _plan(frozenset(map(str, row)), name) or refuse_columns(row, FORMATS)
    except DataError as error:
        raise row_error(where, "unknown columns", str(error)) from error


# Rows of one file have one set of columns, or a few: each set is looked at once, and a change is never missed.
@lru_cache(maxsize=1024)
def _plan(names: frozenset[str], name: str | None) -> RowPlan | None:
    """Return how rows with these columns are read; None where no format fits."""
    renames: dict[str, str] = {}
    format = FORMATS[name] if name is not None else _detect(names)
    if format is None:
        renames = _near_columns(names)
        format = _detect(names - set(renames) | set(renames.values())) if renames else None
    if format is None:
        return None
    notes = [f"column {theirs!r} is taken for {ours!r}" for theirs, ours in renames.items()]
    said = system_column(names) if format.takes_prompt or format.system_place else None
    if format.takes_prompt:
        left = sorted(names - set(renames), key=_prompt_order)
        asked = prompt_column(left)
        if asked is not None and "prompt" not in {*names, *renames.values()}:
            renames[asked] = "prompt"
            notes.append(f"column {asked!r} is read as the prompt")
        unread = [c for c in left if c not in renames and c != "prompt" and _prompt_order(c) < len(MEANT)]
        place = f" in place of {asked!r}; join both in the file where both are asked" if asked is not None else ""
        notes += [
            f"column {c!r} is not read and stays in the metadata; --columns {c}=prompt reads it{place}" for c in unread
        ]
    if said is not None:
        renames |= {} if said == "system" else {said: "system"}
        notes.append(f"column {said!r} is read as a system message before the prompt")
    puts_system = said is not None and format.system_place != "system"
    return RowPlan(format, tuple(renames.items()), puts_system, tuple(notes))


def prompt_column(columns: Iterable[str]) -> str | None:
    """Return the column that holds what was asked, by the names that people give it; None where there is none."""
    first = min(columns, key=_prompt_order, default="")
    return first if _prompt_order(first) < len(PROMPTS) else None


def system_column(columns: Iterable[str]) -> str | None:
    """Return the column that holds a system message, by the names that people give it; None where there is none."""
    found = {_plain(column): column for column in sorted(columns)}
    return next((found[name] for name in SYSTEMS if name in found), None)


def _plain(column: str) -> str:
    return _WORDS.sub("_", column.strip()).lower().replace(" ", "_").replace("-", "_")


def unread_columns(row: Mapping[str, Any], group: PreferenceGroup, plan: RowPlan) -> list[str]:
    """Return the columns of a row that no one reads and no note of its plan names; numbers of rows are left out."""
    named = " ".join(plan.notes)
    return [
        column
        for column in group.metadata
        if column in row
        and not (column in READ_LATER or _plain(column) in NUMBERS)
        and not (_plain(column).endswith(("id", "idx", "index")) or repr(column) in named)
    ]


def unread_note(group: PreferenceGroup, columns: Sequence[str]) -> str:
    """Say which columns are not read, and what to do where one of them may hold what was asked."""
    shown = listed(columns)
    if not group.prompt:
        remedy = f"--columns {shown}=prompt reads it" if len(columns) == 1 else "--columns NAME=prompt reads one"
        return f"no column is read as the prompt; not read, and kept in the metadata: {shown}; {remedy}"
    meant = [column for column in columns if _plain(column) in (*MEANT, *SYSTEMS)]
    remedy = f"; join {listed(meant)} to the prompt in the file where it was asked, too" if meant else ""
    return f"columns that are not read, and are kept in the metadata: {shown}{remedy}"


def _prompt_order(column: str) -> int:
    """Return the place of a column among the names under which people keep what was asked, or a large number."""
    plain = _plain(column)
    if plain in MEANT:
        return MEANT.index(plain)
    return (
        0
        if plain == "prompt" or (SequenceMatcher(None, plain, "prompt").ratio() >= NEAR and plain != "prompt_id")
        else 99
    )


def _near_columns(names: frozenset[str]) -> dict[str, str]:
    """Map misspelt columns to the ones that formats read, where that is clear."""
    renames: dict[str, str] = {}
    for column in sorted(names - KNOWN):
        found = get_close_matches(_plain(column), KNOWN - names, 1, NEAR)
        if found and found[0] not in renames.values():
            renames[column] = found[0]
    return renames


def with_system(row: Mapping[str, Any], where: str, place: str = "") -> dict[str, Any]:
    """Put the column `system` before what the row asks, as a message; the other columns stay.

    `place` is the column of messages that holds what was asked, where it is not `prompt`.

    Raises:
        RowError: it is no text, or the conversation has another system message.
    """
    row = dict(row)
    first = _system_message(row.pop("system"), where)
    prompt = row.get("prompt")
    columns: list[str] = [c for c in (place, "messages", "rejected_messages") if c and c in row]
    if prompt or not columns:
        sides = [row[c] for c in ("chosen", "rejected") if isinstance(row.get(c), list | tuple)]
        whole = not prompt and len(sides) == 2 and all(s and isinstance(s[0], Mapping | Message) for s in sides)
        columns = ["chosen", "rejected"] if whole else ["prompt"]
    for column in columns:
        said = row.get(column) or []
        if isinstance(said, str) and not looks_like_messages(said):
            said = [{"role": "user", "content": said}]
        turns = [message.to_dict() for message in check_messages(said, where, column)] if said else []
        if turns and turns[0]["role"] == "system" and turns[0]["content"] != first["content"]:
            message = f"column 'system' and the system message of {column!r} differ; keep one of them"
            raise row_error(where, "two system messages", message)
        row[column] = turns if turns and turns[0]["role"] == "system" else [first, *turns]
    return row


def _system_message(value: object, where: str) -> dict[str, Any]:
    """Return a system message, given as text or as the one message of a list."""
    is_list = isinstance(value, list | tuple) or (isinstance(value, str) and looks_like_messages(value))
    messages = check_messages(value, where, "system") if is_list else ()
    if len(messages) == 1 and messages[0].role in SYSTEM_ROLES:
        return messages[0].to_dict()
    return {"role": "system", "content": check_text(value, where, "system")}


def detect_format(columns: Iterable[str]) -> str:
    """Choose the format of rows from their column names.

    When two formats fit, nothing is guessed: the error names both.

    Raises:
        DataError: no format fits, or more than one.
    """
    names = frozenset(map(str, columns))
    format = _detect(names)
    return format.name if format is not None else refuse_columns(names, FORMATS)


def _detect(names: frozenset[str]) -> Format | None:
    """Return the format whose columns these are, None where none is. Raises DataError where several fit."""
    fitting = [f for f in ALL if _claims(f, names) and not f.unless & names]
    fitting = [f for f in fitting if f.wins] or fitting
    # A layout that names more of the columns is the better explanation: alpaca's instruction beside chosen and
    # rejected is not a TRL pair with an implicit prompt.
    fitting = [f for f in fitting if not any(other.name in f.yields_to for other in fitting)]
    if len(fitting) > 1:
        titles = ", ".join(f.name for f in fitting)
        raise DataError(f"the columns ({listed(sorted(names))}) fit several formats: {titles}; name one with --reader")
    return fitting[0] if fitting else None


def _claims(format: Format, names: frozenset[str]) -> bool:
    if any(signature <= names for signature in format.signatures):
        return True
    return format.pattern is not None and any(map(format.pattern.fullmatch, names))


def find_name(source: str) -> str | None:
    """Return the reader of a hub id ("owner/name" or "owner/name/subset") that exactly one entry declares."""
    source, _ = split_revision(source)
    exact = [name for name, _, place in PLACES if place == source]
    title = "/".join(source.split("/")[:2])
    names = exact or [name for name, hub_id, _ in PLACES if hub_id == title]
    return names[0] if len(names) == 1 else None


def find_copy(path: Path) -> str | None:
    """Return the reader of a local copy of a hub repository, when its folders are named for it.

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
    if isinstance(columns, Mapping):
        fitting = [entry for entry in fitting if entry.fits is None or entry.fits(columns)]
    fitting = [entry for entry in fitting if not any(entry.columns < other.columns for other in fitting)]
    fitting = [entry for entry in fitting if _is_more_specific(entry.columns, names)]
    if len(fitting) > 1:
        titles = [entry.name for entry in fitting]
        raise DataError(
            f"the columns ({listed(sorted(names))}) fit the data sets {' and '.join(titles)}; "
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
