"""Row layouts of other tools, one small file a tool: `read_row` and, where it can be written, `write_rows`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rewardsmith.data.formats import llamafactory_registry, potato_export
from rewardsmith.files import reading
from rewardsmith.files.tables import OnBroken, Row

FOLDERS = (llamafactory_registry.read_folder, potato_export.read_folder)


def read_rows(path: str | Path, *, split: str | None = None, on_broken: OnBroken | None = None) -> Iterator[Row]:
    """Yield the rows of a file or folder as `files.reading.read_rows` does, also of folders of the known tools."""
    return reading.read_rows(path, split=split, on_broken=on_broken, folders=FOLDERS)
