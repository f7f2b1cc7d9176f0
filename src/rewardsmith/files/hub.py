"""Read data sets of the Hugging Face hub through `datasets`: as a stream, or as the Arrow files of its cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewardsmith.errors import DataError, one_line

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".xz")


def read_hub(name: str, split: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (where, row) for every row of "owner/name", or of "owner/name/subset"; nothing is held in memory.

    A subset is a configuration of the data set, or else a folder of its repository. The split is "train" when None.

    Raises:
        DataError: the name is no hub id, or the hub cannot give the data set or the split.
    """
    for index, row in enumerate(stream_hub(name, split)):
        yield f"{name}:row {index}", row


def stream_hub(name: str, split: str | None) -> Any:
    """Return the `datasets.IterableDataset` of a split, which nothing is read of yet. Raises DataError."""
    return _load(name, split=split or "train", streaming=True)


def hub_files(name: str, split: str | None) -> tuple[Path, ...]:
    """Download one split of "owner/name" or "owner/name/subset" whole and return its Arrow files.

    Raises:
        DataError: as `read_hub`, or several splits and none named.
    """
    found = _load(name)
    splits = ", ".join(map(str, found))
    if split is None and len(found) > 1:
        raise DataError(f"{name}: holds the splits {splits}; name one with --split")
    if split is not None and split not in found:
        raise DataError(f"{name}: no split {split!r}; it holds {splits}")
    return tuple(Path(entry["filename"]) for entry in found[split or next(iter(found))].cache_files)


def is_hub_id(name: str) -> bool:
    """Whether a text can be a hub id; a path of a data file is none."""
    return name.count("/") >= 1 and not name.startswith((".", "/", "~")) and Path(name).suffix not in SUFFIXES


def _load(name: str, **options: Any) -> Any:
    """Load what `name` says with `datasets`. Raises DataError."""
    if not is_hub_id(name):
        raise DataError(f"{name[:200]!r}: no such file or folder, and not a hub id like 'owner/name'")
    from datasets import load_dataset

    owner, title, *subset = name.split("/", 2)
    repository = f"{owner}/{title}"
    try:
        if not subset:
            return load_dataset(repository, **options)
        if subset[0] in _configurations(repository):
            return load_dataset(repository, subset[0], **options)
        return load_dataset(repository, data_dir=subset[0], **options)
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this data set cannot be had.
        raise DataError(f"{name}: no such file or folder, and the hub cannot give it: {one_line(error)}") from error


def _configurations(repository: str) -> list[str]:
    from datasets import get_dataset_config_names

    return list(get_dataset_config_names(repository))
