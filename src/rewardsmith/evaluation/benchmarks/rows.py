"""Rows of a benchmark as its authors published it: one file, a folder, or a hub data set.

Every row also knows the file (or hub configuration) that it came from, as some sets say their subset only there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rewardsmith.data.detecting import read_rows
from rewardsmith.errors import DataError
from rewardsmith.files.reading import data_files

Row = tuple[str, Mapping[str, Any]]
# Under these names a row holds its file, relative to the folder, and its key in a JSON object of lists.
FILE, KEY = "_file", "_key"


def rows_of(source: str | Path, split: str, patterns: Sequence[str] = (), beside: Sequence[str] = ()) -> Iterator[Row]:
    """Give the rows of a file, of the files of a folder that belong to the benchmark, or of a hub data set.

    Args:
        split: of the hub; in a folder, files with this word in their name are taken and no others, when there are any.
            Several are joined by "+".
        patterns: regular expressions of paths inside the folder; the files that match the first which any file
            matches are the benchmark's, the others are not.
        beside: regular expressions of files that are read, too, when their folder has no file of the split.
    """
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        yield from read_rows(path, split=split if (path / "dataset_dict.json").exists() else None)
    elif path.is_dir():
        for file in choose_files(path, split, patterns, beside):
            name = file.relative_to(path).as_posix()
            for where, row in _file_rows(file):
                yield f"{name}:{where.rsplit(':', 1)[-1]}", {**row, FILE: name}
    elif path.is_file():
        for where, row in _file_rows(path):
            yield where, {**row, FILE: path.name}
    else:
        yield from _hub_rows(str(source), split)


def choose_files(folder: Path, split: str, patterns: Sequence[str] = (), beside: Sequence[str] = ()) -> list[Path]:
    """Choose the files of a folder that hold the benchmark; a download holds other splits and results, too.

    Raises:
        DataError: no file of a known kind.
    """
    files = data_files(folder)
    if not files:
        raise DataError(f"{folder}: holds no .json, .jsonl or .parquet file; give the folder as it was published")
    pool = next((found for pattern in patterns if (found := _matching(folder, files, pattern))), files)
    words = set(split.lower().split("+"))
    chosen = [file for file in pool if words & set(re.split(r"[^a-z0-9]+", file.stem.lower()))] or pool
    folders = {file.parent for file in chosen}
    extra = [file for pattern in beside for file in _matching(folder, files, pattern) if file.parent not in folders]
    return chosen + extra


def _matching(folder: Path, files: Sequence[Path], pattern: str) -> list[Path]:
    return [file for file in files if re.search(pattern, file.relative_to(folder).as_posix())]


def subset_of(row: Mapping[str, Any]) -> str | None:
    """Give the folder (or hub configuration) of a row's file; None where that says nothing."""
    folder = PurePosixPath(str(row.get(FILE, ""))).parent.as_posix()
    return None if folder in ("", ".", "data") else folder.removesuffix("/data")


def need(where: str, row: Mapping[str, Any], *names: str) -> Any:
    """Give the first of `names` that the row has. Raises DataError."""
    for name in names:
        if row.get(name) is not None:
            return row[name]
    found = sorted(str(name) for name in row if name not in (FILE, KEY))
    raise DataError(f"{where}: needs {' or '.join(map(repr, names))}; found {found}")


def _file_rows(path: Path) -> Iterator[Row]:
    return _json_rows(path) if path.suffix == ".json" else read_rows(path)


def _json_rows(path: Path) -> Iterator[Row]:
    """Read a list, an object with `examples`, or an object of lists (each row then knows its key), or JSON Lines."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        lines = _json_lines(path)
        if lines is None:
            raise DataError(f"{path}: not JSON ({error}); use .jsonl for one object a line") from error
        content = lines
    if isinstance(content, dict) and isinstance(content.get("examples"), list):
        content = content["examples"]
    parts = content.items() if isinstance(content, dict) else [(None, content)]
    for key, rows in parts:
        if not isinstance(rows, list):
            raise DataError(f"{path}: {key!r} holds no list of rows")
        for index, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                raise DataError(f"{path.name}:row {index}: a row must be an object, not {type(row).__name__}")
            yield f"{path.name}:row {index}", row if key is None else {**row, KEY: key}


def _json_lines(path: Path) -> list[Any] | None:
    """Read a file that is named .json but holds one object a line; None when it does not."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError:
        return None


def _hub_rows(name: str, split: str) -> Iterator[Row]:
    """Read all configurations of a hub data set."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise DataError(f"{name}: no such file or folder, and not a hub id like 'owner/name'")
    from datasets import get_dataset_config_names, load_dataset

    try:
        configs = get_dataset_config_names(name)
        parts = [(config, load_dataset(name, config, split=split)) for config in configs]
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this data set cannot be had.
        raise DataError(f"{name}: the hub cannot give it: {' '.join(str(error).split())[:200]}") from error
    for config, rows in parts:
        place = f"{config}/{split}" if len(parts) > 1 else split
        for index, row in enumerate(rows):
            yield f"{name}:{config}:row {index}", {**row, FILE: place}
