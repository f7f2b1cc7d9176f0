"""The published data sets that can be read by name, by hub id, or by the columns of their rows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from importlib import import_module
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from rewardsmith.data.formats import read_rows
from rewardsmith.data.merging import deduplicate
from rewardsmith.data.rows import FORMATS, SIGNATURES, detect_format
from rewardsmith.data.sets.entry import Entry, Read, Rows
from rewardsmith.errors import ConfigError, DataError, RowError
from rewardsmith.files.hub import read_hub
from rewardsmith.files.reading import SPLITS, choose_split, data_files
from rewardsmith.records import PreferenceGroup

# Every reader file of this folder; each ends with ENTRY, or with ENTRIES where its layouts are several data sets.
MODULES = (
    "hh_rlhf",
    "finegrained_rlhf",
    "wmt_darr",
    "rmb",
    "webgpt",
    "summarize_from_feedback",
    "shp",
    "stack_exchange",
    "ultrafeedback",
    "helpsteer",
    "helpsteer3",
    "nectar",
    "skywork",
    "oasst",
    "pku_saferlhf",
    "beavertails",
    "lmarena",
    "prm800k",
    "math_shepherd",
    "ukp_convarg",
    "dsp",
    "pandalm",
    "llmbar",
    "evalbiasbench",
    "summeval",
    "unieval",
    "llm_summarization",
    "dices",
    "gsm8k_solutions",
    "big_bench_mistake",
    "reasoneval",
)


def _collect() -> dict[str, Entry]:
    """Gather the entries of all reader files by name."""
    entries: dict[str, Entry] = {}
    for module_name in MODULES:
        module = import_module(f"rewardsmith.data.sets.{module_name}")
        for entry in getattr(module, "ENTRIES", None) or (module.ENTRY,):
            assert entry.name not in entries, f"two readers are named {entry.name}"
            entries[entry.name] = entry
    return entries


CATALOGUE = _collect()


def find(name: str) -> tuple[Entry, Callable[[Rows], Read]]:
    """Give the entry and the function that "name" or "name:variant" asks for. Raises ConfigError with the nearest."""
    title, _, variant = name.partition(":")
    if title not in CATALOGUE:
        near = difflib.get_close_matches(title, [*CATALOGUE, *FORMATS], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"row formats are {', '.join(FORMATS)}"
        raise ConfigError(f"no reader {title!r}; {hint} (rewardsmith data list names the data sets)")
    entry = CATALOGUE[title]
    if not variant:
        return entry, entry.read
    if variant not in entry.variants:
        known = ", ".join(f"{title}:{name}" for name in entry.variants) or "none"
        raise ConfigError(f"reader {title!r} has no variant {variant!r}; its variants: {known}")
    return entry, entry.variants[variant]


def find_name(source: str) -> str | None:
    """Give the reader of a hub id ("owner/name" or "owner/name/subset") that exactly one entry declares."""
    exact = [entry.name for entry in CATALOGUE.values() if entry.hub_place == source]
    title = "/".join(source.split("/")[:2])
    names = exact or [entry.name for entry in CATALOGUE.values() if entry.hub_id == title]
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
    return any(signature < columns for signature in SIGNATURES[format])


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
        return [row for _, row in islice(read_rows(path, split=split), 1)]
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


def open_rows(
    entry: Entry,
    source: str | Path,
    split: str | None = None,
    on_broken: Any = None,
    notes: list[str] | None = None,
) -> Rows:
    """Stream the rows of a data set from a local file or folder in the published layout, or from the hub.

    `notes` is told which files of a folder are not read.
    """
    if not Path(source).exists():
        if isinstance(source, Path) or source.count("/") < 1:
            where = f"the hub id {entry.hub_id}" if entry.hub_id else entry.homepage
            raise ConfigError(f"reader {entry.name!r} found no file at {source}; get the data set from {where}")
        place = entry.hub_place if source == entry.hub_id else source
        rows: Rows = read_hub(str(place), split or entry.split)
    else:
        rows = _read_local(entry, Path(source), split, on_broken, notes)
    return entry.unfold(rows) if entry.unfold else rows


def _read_local(entry: Entry, path: Path, split: str | None, on_broken: Any, notes: list[str] | None) -> Rows:
    saved = path.is_dir() and any((path / name).exists() for name in ("dataset_dict.json", "state.json"))
    if path.is_file() or saved:
        yield from read_rows(path, split=split, on_broken=on_broken)
        return
    files = entry_files(entry, path, split)
    fitting = [file for file in files if _may_hold(entry, file)] or files
    if notes is not None and len(fitting) < len(files):
        others = [file.name for file in files if file not in fitting]
        count = f"{len(others)} file{'s' if len(others) > 1 else ''}"
        notes.append(
            f"{count} of another layout {'are' if len(others) > 1 else 'is'} not read: {', '.join(others[:3])}"
        )
    for file in fitting:
        for where, row in read_rows(file, on_broken=on_broken):
            yield f"{file.relative_to(path).parent}/{where}".removeprefix("./"), row


def _may_hold(entry: Entry, file: Path) -> bool:
    """Whether a file holds rows of a data set, by its first row; one whose first row cannot be read may."""
    first = next(iter(_first_row(file, None)), None)
    return first is None or entry.columns <= {str(column) for column in first}


def entry_files(entry: Entry, folder: Path, split: str | None = None) -> list[Path]:
    """Give the files of a folder that hold a data set's rows, of one split; the names of splits are the hub's.

    Raises:
        ConfigError: none is there.
        DataError: several splits and none named, or no such split.
    """
    files = [file for file in data_files(folder) if file.suffix in entry.suffixes]
    files = [file for file in files if any(fnmatch(file.name, pattern) for pattern in entry.files)] or files
    if not files:
        raise ConfigError(f"reader {entry.name!r} found no file at {folder}; give the folder of the data set")
    named = [file for file in files if split is not None and split in str(file.relative_to(folder))]
    is_known = split is None or any(split in aliases for aliases in SPLITS.values())
    return choose_split(folder, files, split) if is_known or not named else named


def read(name: str, source: str | Path, split: str | None = None) -> Iterator[PreferenceGroup | RowError]:
    """Read a data set lazily: groups in order, and for each row that is left out its error.

    Args:
        name: a key of CATALOGUE, or "name:variant".
        source: a file or folder in the published layout, or a hub id.
        split: which split; needed where there are several.

    Raises:
        ConfigError: an unknown name, or nothing at the path.
        DataError: a file that cannot be read.
    """
    entry, reader = find(name)
    yield from read_groups(entry, reader, open_rows(entry, source, split))


def read_groups(entry: Entry, reader: Callable[[Rows], Read], rows: Rows) -> Read:
    """Read rows with an entry's function; each completion is stored once and the source is named."""
    for item in reader(rows):
        if isinstance(item, RowError):
            yield item
            continue
        group = deduplicate(item)
        if group.source is None:
            object.__setattr__(group, "source", entry.name)
        yield group
