"""Several data sets at once: the entries of `datasets` in a recipe, and how much of each is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any

from rewardsmith.data.columns import map_columns
from rewardsmith.data.detecting import parse_row, read_rows
from rewardsmith.data.mixing import MixtureSource, Portion, mix_groups
from rewardsmith.errors import ConfigError
from rewardsmith.files.hub import read_hub
from rewardsmith.records import PreferenceGroup

# Reads groups from a path or hub id (or several), a list of groups, and the split of it; says what was read.
Read = Callable[[Any, str | None], tuple[list[PreferenceGroup], list[str]]]


def read_sources(datasets: Sequence[Any]) -> list[MixtureSource]:
    """Read the entries of a recipe; a text is a path. Raises ConfigError naming entry, key and the nearest key."""
    entries = [MixtureSource.read(value, f"datasets entry {number}") for number, value in enumerate(datasets)]
    if len({entry.fraction is None for entry in entries}) > 1:
        raise ConfigError("datasets: set 'fraction' for every data set or for none")
    return entries


def load_mixture(entries: Sequence[MixtureSource], read: Read) -> tuple[list[PreferenceGroup], list[str]]:
    """Load every data set of a mixture and cut the larger ones, by the rules of `data merge`.

    Returns:
        The groups, not merged across data sets, and what was read.
    """
    sources, notes = [], []
    for number, entry in enumerate(entries):
        groups, said = _load_entry(entry, f"datasets entry {number}", read)
        sources.append(groups)
        notes += said
    chosen = mix_groups(sources, [Portion(entry.fraction) for entry in entries])
    return [group for source in chosen for group in source], notes


def _load_entry(entry: MixtureSource, where: str, read: Read) -> tuple[list[PreferenceGroup], list[str]]:
    """Load one data set: a file, the files that it names, a folder or a hub id."""
    source, split = _source(entry, where)
    if entry.columns is None:
        return read(source, split)
    sources = [source] if isinstance(source, str) else source
    rows = chain.from_iterable(read_rows(s, split=split) if Path(s).exists() else read_hub(s, split) for s in sources)
    columns = entry.columns
    groups, _ = read((parse_row(row, place) for place, row in map_columns(rows, columns)), None)
    return groups, [f"{entry.path}: {len(groups)} groups, columns {', '.join(columns)}"]


def _source(entry: MixtureSource, where: str) -> tuple[str | list[str], str | None]:
    """Return what to read of an entry, and which split of it."""
    folder = Path(entry.path) / (entry.data_dir or "")
    named = entry.data_files
    if isinstance(named, Mapping):
        if entry.split not in named:
            raise ConfigError(f"{where}: data_files has no {entry.split!r}, it has {', '.join(map(str, named))}")
        named = named[entry.split]
    if named:
        base = folder if folder.is_dir() else Path(entry.data_dir or "")
        patterns = [named] if isinstance(named, str) else list(named)
        files = [sorted(glob(str(base / str(pattern)))) for pattern in patterns]
        if not all(files):
            raise ConfigError(f"{where}: no file {str(base / str(patterns[files.index([])]))!r}; check data_files")
        return list(chain.from_iterable(files)), None
    if not Path(entry.path).exists():
        return "/".join(part for part in (entry.path, entry.name, entry.data_dir) if part), entry.split
    if entry.name:
        raise ConfigError(f"{where}: 'name' is for data sets of the hub, and {entry.path!r} is local; leave it out")
    if folder.is_dir():
        return str(folder), entry.split
    if entry.split != "train":
        raise ConfigError(f"{where}: {entry.path} is one file and has no split {entry.split!r}; leave split out")
    return str(folder), None
