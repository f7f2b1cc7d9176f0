"""The row formats, one file each; a new one is a file and a line in the list below."""

from __future__ import annotations

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
