"""The row formats; a new one is a file, or stands with those of its kind, and a line in the list below."""

from __future__ import annotations

from rewardsmith.data.formats import (
    annotation_tools,
    llamafactory,
    pairs,
    potato,
    rankings,
    rated,
    rewardsmith,
    trainers,
)
from rewardsmith.data.formats.format import Format, Target

ALL: tuple[Format, ...] = (
    pairs.FORMAT,
    *trainers.FORMATS,
    *rankings.FORMATS,
    rated.FORMAT,
    trainers.NEMO,
    rewardsmith.FORMAT,
    llamafactory.FORMAT,
    trainers.SWIFT,
    trainers.AXOLOTL,
    annotation_tools.LABEL_STUDIO,
    annotation_tools.ARGILLA,
    potato.FORMAT,
)
FORMATS: dict[str, Format] = {f.name: f for f in ALL} | {alias: f for f in ALL for alias in f.aliases}
TARGETS: dict[str, Target] = {name: target for f in ALL for name, target in f.targets.items()}
FOLDERS = tuple(f.read_folder for f in ALL if f.read_folder is not None)
