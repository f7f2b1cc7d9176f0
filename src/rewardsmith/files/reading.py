"""Read the rows of a file or folder one by one, whatever its layout; memory does not grow with the file.

JSON Lines (also .gz, .zst and .xz), JSON arrays, CSV, TSV, Parquet, Arrow, folders saved by `datasets`, and folders of
such files. In files rows count from 1, so that a row of JSON Lines is the line that an editor shows.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import lzma
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from rewardsmith.data.formats.llamafactory_registry import ranking_entries, rename_row
from rewardsmith.data.formats.potato_export import find_export, join_export
from rewardsmith.data.row_values import RowError, row_error
from rewardsmith.errors import DataError, RewardsmithError
from rewardsmith.files.json_arrays import read_json

Row = tuple[str, dict[str, Any]]
OnBroken = Callable[[RowError], None]
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "eval")}
# Cells of CSV files that hold JSON by the meaning of their column.
JSON_COLUMNS = {"completions", "ranks", "scores", "context", "comparisons", "ratings", "messages", "conversations"}
BATCH_ROWS = 256


def read_rows(path: str | Path, *, split: str | None = None, on_broken: OnBroken | None = None) -> Iterator[Row]:
    """Give (where, row) for every row, `where` being like "train.jsonl:row 12".

    Args:
        split: which split of a folder that holds several.
        on_broken: called with the error of a row that cannot be read, after which reading goes on; without it the
            error is raised. Files that cannot be read any further always raise.

    Raises:
        DataError: the path is missing, of an unknown kind, or broken; the message names file and row.
    """
    path = Path(path)
    if path.is_dir():
        yield from _read_folder(path, split, on_broken)
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
        raise DataError(f"{path.name}: cannot be read as {kind[1:]}: {_one_line(error)}") from error


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
    elif (folder / "dataset_info.json").exists() and _registry(folder):
        yield from _read_registry(folder, split, on_broken)
        return
    else:
        every = data_files(folder)
        exported = find_export(every, read_rows)
        if exported is not None:
            yield from join_export(*exported, lambda path: read_rows(path, on_broken=on_broken))
            return
        files = choose_split(folder, every, split)
    for path in files:
        for where, row in read_rows(path, on_broken=on_broken):
            yield f"{path.relative_to(folder).parent}/{where}".removeprefix("./"), row


def _registry(folder: Path) -> dict[str, dict[str, Any]]:
    """Give the ranking data sets of LLaMA-Factory's registry, if the folder's dataset_info.json is one."""
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: broken JSON: {_one_line(error)}") from error
    is_registry = isinstance(info, dict) and any(isinstance(v, dict) and "file_name" in v for v in info.values())
    return ranking_entries(info, path) if is_registry else {}


def _read_registry(folder: Path, split: str | None, on_broken: OnBroken | None) -> Iterator[Row]:
    """Read one data set of LLaMA-Factory's registry, its columns renamed to the usual ones."""
    entries = _registry(folder)
    if (split is None and len(entries) > 1) or (split is not None and split not in entries):
        raise DataError(f"{folder}: the registry holds the ranking sets {', '.join(entries)}; name one as split")
    entry = entries[split or next(iter(entries))]
    for where, row in read_rows(folder / entry["file_name"], on_broken=on_broken):
        yield where, rename_row(row, entry)


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
                problem = row_error(where, "broken JSON", f"broken JSON: {_one_line(error)}; repair or remove the line")
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
            raise DataError(f"{path.name}: the compressed data are damaged: {_one_line(error)}") from error
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


def _read_table(path: Path, on_broken: OnBroken | None) -> Iterator[Row]:
    """Read CSV or TSV with a header; rows count from 1 after it."""
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as text:
        reader = _open_table(text, path)
        try:
            header: list[str] = next(reader, [])
            repeated = {name for name in header if header.count(name) > 1}
            if repeated:
                raise DataError(f"{path.name}: the header names {min(repeated)!r} twice; give each column its own name")
            number = 0
            for cells in reader:
                if not cells:
                    continue
                number += 1
                where = f"{path.name}:row {number}"
                if len(cells) == len(header):
                    yield where, {name: _decode_cell(name, cell) for name, cell in zip(header, cells, strict=True)}
                    continue
                message = f"{len(cells)} cells, but the header names {len(header)}; quote cells that hold commas"
                error = row_error(where, "wrong number of cells", message)
                if on_broken is None:
                    raise error
                on_broken(error)
        except csv.Error as error:
            raise DataError(f"{path.name}:line {reader.line_num}: {_one_line(error)}") from error


def _open_table(text: io.TextIOWrapper, path: Path) -> Any:
    """Open CSV or TSV; a .csv whose header holds tabs and no comma is tab-separated.

    A header that begins with "#" is that of a raw export: quotation marks in its cells are text.
    """
    first = text.readline()
    tabs = file_kind(path) == ".tsv" or ("\t" in first and "," not in first)
    quoting: Any = csv.QUOTE_NONE if tabs and first.startswith("#") else csv.QUOTE_MINIMAL
    lines = itertools.chain([first] if first else [], text)
    return csv.reader(lines, delimiter="\t" if tabs else ",", quoting=quoting, strict=False)


def _decode_cell(column: str, cell: str) -> Any:
    """Give a cell, decoded where it holds a JSON list or a list of messages."""
    if cell[:1] != "[" or not (column in JSON_COLUMNS or '"role"' in cell):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if column in JSON_COLUMNS or all(isinstance(item, dict) for item in value) else cell


def _read_parquet(path: Path, _: OnBroken | None) -> Iterator[Row]:
    """Read Parquet by batches of one row group after the other; all at once, their buffers pile up."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        one_by_one = (file.iter_batches(BATCH_ROWS, [index]) for index in range(file.num_row_groups))
        yield from _number_rows(path, itertools.chain.from_iterable(one_by_one))


def _read_arrow(path: Path, _: OnBroken | None) -> Iterator[Row]:
    """Read an Arrow stream (what `datasets` saves) or an Arrow file (Feather) by batches."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            batches: Any = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        yield from _number_rows(path, batches)


def _number_rows(path: Path, batches: Iterator[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for row in batch.slice(start, BATCH_ROWS).to_pylist():
                number += 1
                yield f"{path.name}:row {number}", row


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


READERS: dict[str, Callable[[Path, OnBroken | None], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json_file,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
}
