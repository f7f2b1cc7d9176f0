"""The data sets of an audit: `[NAME=]PATH[:READER]`, each a source of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup

# Where a reader of preference data has another name than the benchmark in the same layout, the reader comes first.
SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".csv", ".tsv")


@dataclass(slots=True)
class AuditData:
    """Groups of all data sets; each group's source is the name of its data set.

    Args:
        names: of the data sets, in order.
        groups: of all of them.
        dropped: rows left out, by reason.
        notes: one line for each reason of each data set.
    """

    names: list[str] = field(default_factory=list)
    groups: list[PreferenceGroup] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the whole."""
        return ", ".join(self.names)


def load_data(
    wanted: Sequence[str], reader: str | None, options: Mapping[str, Any], draw: tuple[int | None, int] = (None, 0)
) -> AuditData:
    """Load every data set.

    Args:
        wanted: `[NAME=]PATH[:READER]` of each.
        reader: of those that name none.
        options: of `load_preferences`.
        draw: how many groups of each data set are drawn (None takes all), and the seed.

    Raises:
        ConfigError: two data sets have the same name.
    """
    data = AuditData()
    for text in wanted:
        name, path, own = parse_data(text)
        if name in data.names:
            raise ConfigError(f"two data sets are named {name!r}; name them apart: --data NAME=PATH")
        data.names.append(name)
        groups, dropped = _load(path, own or reader, options)
        if draw[0] is not None and len(groups) > draw[0]:
            data.notes.append(f"{name}: drew {draw[0]} of {len(groups)} groups")
            groups = draw_groups(groups, *draw)
        sourced = len(wanted) > 1
        data.groups += [replace(group, source=name) for group in groups] if sourced else groups
        data.dropped.update(dropped)
        data.notes += [f"{name}: dropped {count} rows ({reason})" for reason, count in dropped.items()]
    return data


def draw_groups(groups: list[PreferenceGroup], number: int | None, seed: int) -> list[PreferenceGroup]:
    """Draw `number` groups by `seed`, in their order; all of them where there are no more."""
    if number is None or len(groups) <= number:
        return groups
    chosen = np.random.default_rng(seed).choice(len(groups), number, replace=False)
    return [groups[index] for index in sorted(chosen)]


def parse_data(text: str) -> tuple[str, str, str | None]:
    """Split `[NAME=]PATH[:READER]`; a path that exists as it is written is not split.

    Example:
        >>> parse_data("hh=no-such-file.jsonl:hh-rlhf")
        ('hh', 'no-such-file.jsonl', 'hh-rlhf')
    """
    name, sign, rest = text.partition("=")
    if not sign or Path(text).exists() or "/" in name:
        name, rest = "", text
    path, reader = rest, ""
    if ":" in rest and not Path(rest).exists():
        path, _, reader = rest.partition(":")
    return name or _short(path), path, reader or None


def _short(path: str) -> str:
    """Name a data set after its file."""
    name = Path(path).name or path
    while name.endswith(SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def _load(path: str, reader: str | None, options: Mapping[str, Any]) -> tuple[list[PreferenceGroup], Mapping[str, int]]:
    """Read preference data, or a benchmark in its published layout where the reader is a benchmark's name."""
    from rewardsmith.data.sets.catalogue import CATALOGUE
    from rewardsmith.evaluation.benchmarks.running import BENCHMARKS

    if reader in BENCHMARKS and reader not in CATALOGUE:
        benchmark = BENCHMARKS[reader]
        groups = [
            group for where, row in benchmark.rows(path, options["split"]) for group in benchmark.read(where, row)
        ]
        return groups[: options["limit"]], {}
    loaded = load_preferences(path, reader=reader, **options)
    return list(loaded), loaded.report.dropped
