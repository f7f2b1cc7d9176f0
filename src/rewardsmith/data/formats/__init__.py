"""The row formats, one file each; a new one is a file and a line in the list below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rewardsmith.data.formats import (
    argilla,
    axolotl,
    label_studio,
    llamafactory,
    nemo,
    pairs,
    potato,
    rankings,
    rewardsmith,
    swift,
    trl,
)
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.files import reading
from rewardsmith.files.tables import OnBroken, Row

ALL: tuple[Format, ...] = (
    pairs.FORMAT,
    *trl.FORMATS,
    *rankings.FORMATS,
    nemo.FORMAT,
    rewardsmith.FORMAT,
    llamafactory.FORMAT,
    swift.FORMAT,
    axolotl.FORMAT,
    label_studio.FORMAT,
    argilla.FORMAT,
    potato.FORMAT,
)
FORMATS: dict[str, Format] = {f.name: f for f in ALL} | {alias: f for f in ALL for alias in f.aliases}
TARGETS: dict[str, Target] = {name: target for f in ALL for name, target in f.targets.items()}
FOLDERS = tuple(f.read_folder for f in ALL if f.read_folder is not None)


def read_rows(path: str | Path, *, split: str | None = None, on_broken: OnBroken | None = None) -> Iterator[Row]:
    """Yield the rows of a file or folder as `files.reading.read_rows` does, also of folders of the known tools."""
    return reading.read_rows(path, split=split, on_broken=on_broken, folders=FOLDERS)
