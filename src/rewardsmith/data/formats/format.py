"""What a format's file declares: which columns claim a row, how a row is read, and how rows are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.files.reading import FolderReader
from rewardsmith.records import PreferenceGroup

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """How one tool's rows are written.

    Args:
        write: gives the rows of a group; raises DataError for a group that the layout cannot hold.
        holds: names of `ALL_COLUMNS` that the rows carry.
        unread: of these, the ones that the tool ignores although its rows carry them.
        is_chat: whether text becomes messages.
        is_lossless: whether rows are whole groups.
    """

    write: Callable[[PreferenceGroup], list[dict[str, Any]]]
    holds: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    is_chat: bool = False
    is_lossless: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """One layout of rows.

    Args:
        name: what `--reader` takes.
        read: gives the group of (row, where); raises RowError for a row that cannot be used.
        signatures: a row with all columns of one of these sets may be of this format.
        aliases: further names that `--reader` takes, such as a tool's.
        unless: columns beside which these rows are not meant.
        takes_prompt: whether `prompt` and `system` are put before its answers; False where it has its own columns.
        yields_to: formats whose columns say more; where one of them fits too, it is meant.
        wins: whether it is meant whatever else fits.
        pattern: a column that matches it claims a row, too, where names of columns vary.
        read_folder: reads a folder whose files only make sense together.
        targets: layouts of `data convert --to` that this file writes.
    """

    name: str
    read: Callable[[Row, str], PreferenceGroup]
    signatures: tuple[set[str], ...]
    aliases: tuple[str, ...] = ()
    unless: frozenset[str] = frozenset()
    takes_prompt: bool = False
    yields_to: tuple[str, ...] = ()
    wins: bool = False
    pattern: re.Pattern[str] | None = None
    read_folder: FolderReader | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
