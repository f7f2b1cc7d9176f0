"""Stream the rows of a data set of the Hugging Face hub through `datasets`; nothing is held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewardsmith.errors import DataError


def read_hub(name: str, split: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give (where, row) for every row of "owner/name", or of "owner/name/subset".

    A subset is a configuration of the data set, or else a folder of its repository.

    Raises:
        DataError: the name is no hub id, or the hub cannot give the data set or the split.
    """
    if not is_hub_id(name):
        raise DataError(f"{name[:200]!r}: no such file or folder, and not a hub id like 'owner/name'")
    from datasets import load_dataset

    owner, title, *subset = name.split("/", 2)
    repository = f"{owner}/{title}"
    try:
        if not subset:
            data = load_dataset(repository, split=split or "train", streaming=True)
        elif subset[0] in _configurations(repository):
            data = load_dataset(repository, subset[0], split=split or "train", streaming=True)
        else:
            data = load_dataset(repository, data_dir=subset[0], split=split or "train", streaming=True)
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this data set cannot be had.
        message = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: no such file or folder, and the hub cannot give it: {message}") from error
    for index, row in enumerate(data):
        yield f"{name}:row {index}", row


def is_hub_id(name: str) -> bool:
    """Whether a text can be a hub id; a path of a data file is none."""
    is_file = Path(name).suffix in (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".xz")
    return name.count("/") >= 1 and not name.startswith((".", "/", "~")) and not is_file


def _configurations(repository: str) -> list[str]:
    from datasets import get_dataset_config_names

    return list(get_dataset_config_names(repository))
