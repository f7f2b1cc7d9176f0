"""The published data sets that can be read by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.errors import ConfigError
from rewardsmith.preferences.readers import finegrained_rlhf, hh_rlhf, rmb, wmt_darr
from rewardsmith.records import PreferenceGroup


@dataclass(frozen=True)
class Entry:
    """One data set: where it comes from, its licence, and the function that reads a local copy."""

    summary: str
    licence: str
    source: str
    function: Callable[[Path], Iterator[PreferenceGroup]]


CATALOGUE = {
    "hh-rlhf": Entry(
        "Anthropic HH-RLHF: pairs of dialogues, text to messages", "MIT", "Anthropic/hh-rlhf", hh_rlhf.read
    ),
    "finegrained-rlhf": Entry(
        "FineGrainedRLHF: long-form answers, k=4, all pairs judged, ties",
        "Apache-2.0",
        "github.com/allenai/FineGrainedRLHF",
        finegrained_rlhf.read,
    ),
    "wmt-darr": Entry(
        "WMT metrics task, relative ranks from direct assessment: many pairs a source",
        "research",
        "statmt.org/wmt19/metrics-task.html",
        wmt_darr.read,
    ),
    "rmb": Entry(
        "RMB: pairs and best-of-n lists of chat answers",
        "none stated",
        "github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark",
        rmb.read,
    ),
}


def read(name: str, path: str | Path, split: str | None = None) -> Iterator[PreferenceGroup]:
    """Read a data set of the catalogue from a local file or folder, lazily, one group a row.

    Args:
        name: a key of CATALOGUE.
        path: a file or folder in the published layout.
        split: keep files whose name holds it.

    Raises:
        ConfigError: an unknown name, or nothing at the path.
        DataError: a row that cannot be read; file and row are named.
    """
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no reader {name!r}; there are {', '.join(sorted(CATALOGUE))}{hint}")
    files = _files(Path(path), split)
    if not files:
        raise ConfigError(f"reader {name!r} found no file at {path}; download the data set and give its folder")
    for file in files:
        yield from CATALOGUE[name].function(file)


def _files(path: Path, split: str | None) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix in (".json", ".jsonl", ".gz", ".zst", ".parquet"))
    return [p for p in found if split is None or split in p.name]
