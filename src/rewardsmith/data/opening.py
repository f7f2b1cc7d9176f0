"""Where the rows of a published data set lie: the files of a local copy, or the hub; and its groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from rewardsmith.data.detecting import read_rows
from rewardsmith.data.merging import deduplicate
from rewardsmith.data.sets import find
from rewardsmith.data.sets.entry import Entry, Read, Rows
from rewardsmith.errors import ConfigError, DataError, RowError
from rewardsmith.files.reading import SPLITS, choose_split, data_files
from rewardsmith.files.tables import OnBroken, read_hub, split_revision
from rewardsmith.records import PreferenceGroup


def open_rows(
    entry: Entry,
    source: str | Path,
    split: str | None = None,
    on_broken: OnBroken | None = None,
    notes: list[str] | None = None,
) -> Rows:
    """Stream the rows of a data set from a local file or folder in the published layout, or from the hub.

    `notes` is told which files of a folder are not read.
    """
    if not Path(source).exists():
        if isinstance(source, Path) or source.count("/") < 1:
            where = f"the hub id {entry.hub_id}" if entry.hub_id else entry.homepage
            raise ConfigError(f"reader {entry.name!r} found no file at {source}; get the data set from {where}")
        name, revision = split_revision(str(source))
        # The entry knows which configuration of its data set it reads.
        place = f"{entry.hub_place}{f'@{revision}' if revision else ''}" if name == entry.hub_id else str(source)
        rows: Rows = read_hub(place, split or entry.split)
    else:
        rows = _read_local(entry, Path(source), split, on_broken, notes)
    return entry.unfold(rows) if entry.unfold else rows


def _read_local(
    entry: Entry, path: Path, split: str | None, on_broken: OnBroken | None, notes: list[str] | None
) -> Rows:
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
    try:
        first = next((row for _, row in read_rows(file)), None)
    except DataError:
        return True
    return first is None or entry.columns <= {str(column) for column in first}


def entry_files(entry: Entry, folder: Path, split: str | None = None) -> list[Path]:
    """Return the files of a folder that hold a data set's rows, of one split; the names of splits are the hub's.

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
