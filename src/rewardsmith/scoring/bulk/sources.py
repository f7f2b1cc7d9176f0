"""What a bulk job reads: a file, a folder, or a data set of the hub kept as Arrow files in its client's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rewardsmith.data.detecting import read_rows
from rewardsmith.errors import ConfigError, RowError
from rewardsmith.files.hub import hub_files, is_hub_id
from rewardsmith.records import fingerprint
from rewardsmith.scoring.bulk.fingerprints import hash_files

OnBroken = Callable[[RowError], None]
Rows = Iterator[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class HubInput:
    """A data set of the hub, or a local folder in the layout of one.

    It is downloaded whole, once, since a job reads its input several times; memory does not grow with it.

    Args:
        name: "owner/name", or "owner/name/configuration".
        split: may be left out when there is only one.
    """

    name: str
    split: str | None = None

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The Arrow files of the split. Raises DataError when it cannot be had."""
        return hub_files(self.name, self.split)

    def rows(self, on_broken: OnBroken | None = None) -> Rows:
        """Give (where, row), rows counted from 1 through all files."""
        number = 0
        for path in self.files:
            for _, row in read_rows(path, on_broken=on_broken):
                number += 1
                yield f"{self.name}:row {number}", row

    def hash(self) -> str:
        """Give the SHA-256 of the contents, wherever they are cached."""
        return fingerprint([hash_files(path) for path in self.files])

    def __str__(self) -> str:
        return self.name


Source = Path | HubInput


def find_source(name: str, split: str | None = None) -> Source:
    """Give the file or folder of that name, or else the data set of the hub. Raises ConfigError."""
    path = Path(name)
    if path.exists():
        return path.resolve()
    if is_hub_id(name):
        return HubInput(name, split)
    raise ConfigError(f"{name}: no such file or folder, and not a hub id like 'owner/name'")


def read_source(source: Source, split: str | None, on_broken: OnBroken | None = None) -> Rows:
    """Give (where, row) for every row of a source."""
    if isinstance(source, HubInput):
        return source.rows(on_broken)
    return read_rows(source, split=split, on_broken=on_broken)


def hash_source(source: Source) -> str:
    """Give the SHA-256 of what a source holds."""
    return source.hash() if isinstance(source, HubInput) else hash_files(source)
