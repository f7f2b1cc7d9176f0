"""Read the rows of a file or folder one by one, whatever its layout; memory does not grow with the file.

JSON Lines (also .gz, .zst and .xz), JSON arrays, CSV, TSV, Parquet, Arrow, folders saved by `datasets`, and folders of
such files. In files rows count from 1, so that a row of JSON Lines is the line that an editor shows.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from rewardsmith.errors import DataError, RewardsmithError, one_line, row_error
from rewardsmith.files.json_arrays import read_json
from rewardsmith.files.tables import OnBroken, Row, read_arrow, read_csv, read_parquet

# Rows of a folder whose files belong together, or None for a folder of another kind.
FolderReader = Callable[[Path, str | None, OnBroken | None], Iterator[Row] | None]
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "eval")}


def read_rows(
    path: str | Path,
    *,
    split: str | None = None,
    on_broken: OnBroken | None = None,
    folders: Sequence[FolderReader] = (),
) -> Iterator[Row]:
    """Yield (where, row) for every row, `where` being like "train.jsonl:row 12".

    Args:
        split: which split of a folder that holds several.
        folders: readers of folders that only make sense together, asked first.
        on_broken: called with the error of a row that cannot be read, after which reading goes on; without it the
            error is raised. Files that cannot be read any further always raise.

    Raises:
        DataError: the path is missing, of an unknown kind, or broken; the message names file and row.
    """
    path = Path(path)
    if path.is_dir():
        rows = next((rows for read in folders if (rows := read(path, split, on_broken)) is not None), None)
        yield from _read_folder(path, split, on_broken) if rows is None else rows
        return
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    kind = file_kind(path)
    if kind is None:
        raise DataError(f"{path}: unknown kind of file; give one of {', '.join(READERS)} (or .gz, .zst, .xz)")
    try:
        yield from READERS[kind](path, on_broken)
    except RewardsmithError:
        raise
    except (OSError, EOFError, UnicodeError, ValueError, RecursionError, lzma.LZMAError) as error:
        raise DataError(f"{path.name}: cannot be read as {kind[1:]}: {one_line(error)}") from error


def file_kind(path: Path) -> str | None:
    """Give the suffix that says how to read a file, without its compression; None for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst", ".xz"):
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else None


def data_files(folder: Path) -> list[Path]:
    """Give the files of a folder, in order, that hold rows; hidden ones and descriptions are left out."""
    descriptions = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and file_kind(path)
        and path.name not in descriptions
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _read_folder(folder: Path, split: str | None, on_broken: OnBroken | None) -> Iterator[Row]:
    """Read a folder that `datasets` saved, or one that holds files."""
    if (folder / "dataset_dict.json").exists():
        names = json.loads((folder / "dataset_dict.json").read_text()).get("splits", [])
        if split is None and len(names) > 1:
            raise DataError(f"{folder}: holds the splits {', '.join(names)}; name one as split")
        if split is not None and split not in names:
            raise DataError(f"{folder}: no split {split!r}; it holds {', '.join(names)}")
        yield from _read_folder(folder / (split or names[0]), None, on_broken)
        return
    if (folder / "state.json").exists():
        state = json.loads((folder / "state.json").read_text())
        files = [folder / entry["filename"] for entry in state.get("_data_files", [])]
    else:
        files = choose_split(folder, data_files(folder), split)
    for path in files:
        for where, row in read_rows(path, on_broken=on_broken):
            yield f"{path.relative_to(folder).parent}/{where}".removeprefix("./"), row


def choose_split(folder: Path, files: list[Path], split: str | None) -> list[Path]:
    """Choose the files of one split by their names, as the hub does; where no name says train, the others are train.

    Raises:
        DataError: several splits and none named, or no such split.
    """
    if not files:
        raise DataError(f"{folder}: holds no file of a known kind ({', '.join(READERS)})")
    found = {path: _split_of(path.relative_to(folder)) for path in files}
    names = sorted({name for name in found.values() if name})
    if split is None:
        if len(names) > 1:
            raise DataError(f"{folder}: holds the splits {', '.join(names)}; name one as split")
        return files
    wanted = next((name for name, aliases in SPLITS.items() if split in aliases), split)
    unnamed = None if "train" in names else "train"
    chosen = [path for path, name in found.items() if (name or unnamed) == wanted]
    if not chosen:
        raise DataError(f"{folder}: no split {split!r}; it holds {', '.join(names) or 'train'}")
    return chosen


def _split_of(path: Path) -> str | None:
    """Find the name of a split among the words of a path."""
    words = str(path).lower().replace("\\", "/")
    for mark in "-_/.":
        words = words.replace(mark, " ")
    parts = set(words.split())
    return next((name for name, aliases in SPLITS.items() if parts & set(aliases)), None)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, unpacking .gz, .zst and .xz while reading."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if suffix == ".xz":
        return lzma.open(path, "rb")  # type: ignore[return-value]
    if suffix == ".zst":
        import zstandard

        raw = path.open("rb")
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True))
    return path.open("rb")


def _read_jsonl(path: Path, on_broken: OnBroken | None) -> Iterator[Row]:
    """Read one JSON object a line; blank lines are skipped."""
    with open_bytes(path) as lines:
        for number, line in enumerate(_lines(lines, path), 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace() or not line:
                continue
            where = f"{path.name}:row {number}"
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"a row must be an object {{...}}, not {type(row).__name__}")
            except (ValueError, RecursionError) as error:
                problem = row_error(where, "broken JSON", f"broken JSON: {one_line(error)}; repair or remove the line")
                if on_broken is None:
                    raise problem from error
                on_broken(problem)
                continue
            yield where, row


def _lines(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """Iterate over lines; errors of the decompression are ours."""
    try:
        yield from stream
    except Exception as error:
        if isinstance(error, OSError | EOFError) or type(error).__name__ in ("ZstdError", "LZMAError", "error"):
            raise DataError(f"{path.name}: the compressed data are damaged: {one_line(error)}") from error
        raise


def _read_json_file(path: Path, on_broken: OnBroken | None) -> Iterator[Row]:
    """Read a JSON array, or objects one after the other, piece by piece."""
    with open_bytes(path) as stream:
        for number, row in enumerate(read_json(stream, path.name), 1):
            where = f"{path.name}:row {number}"
            if isinstance(row, dict):
                yield where, row
                continue
            error = row_error(where, "wrong type", f"a row must be an object {{...}}, not {type(row).__name__}")
            if on_broken is None:
                raise error
            on_broken(error)


def _read_csv(path: Path, on_broken: OnBroken | None) -> Iterator[Row]:
    with open_bytes(path) as stream:
        yield from read_csv(stream, path.name, file_kind(path) == ".tsv", on_broken)


READERS: dict[str, Callable[[Path, OnBroken | None], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json_file,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": lambda path, _: read_parquet(path),
    ".arrow": lambda path, _: read_arrow(path),
    ".feather": lambda path, _: read_arrow(path),
}
