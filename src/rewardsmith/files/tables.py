"""Tables as streams of rows: CSV, TSV, Parquet and Arrow in bounded memory; and data sets of the hub."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, cast

from rewardsmith.errors import ConfigError, DataError, RowError, one_line, row_error
from rewardsmith.files.writing import SUFFIXES, open_rows, replace_when_done

Row = tuple[str, dict[str, Any]]
OnBroken = Callable[[RowError], None]
Rows = Iterator[Mapping[str, Any]]
# Cells of CSV files that hold JSON by the meaning of their column.
JSON_COLUMNS = {"completions", "ranks", "scores", "context", "comparisons", "ratings", "messages", "conversations"}
# Columns of one text each, where an object of columns has lists.
ASKED = ("prompt", "question", "instruction", "chosen", "rejected")
BATCH_ROWS = 256
MOST_CELL = 64 << 20
# What makes a cell a formula in spreadsheets.
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")
_for_spreadsheets: ContextVar[bool] = ContextVar("for_spreadsheets", default=False)
OUTPUT_SUFFIXES = (*SUFFIXES, ".csv", ".tsv", ".parquet")


def read_csv(stream: IO[bytes], name: str, tabs: bool, on_broken: OnBroken | None) -> Iterator[Row]:
    """Read CSV or TSV with a header; rows count from 1 after it."""
    csv.field_size_limit(MOST_CELL)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        reader = _open_csv(text, tabs)
        try:
            header: list[str] = next(reader, [])
            repeated = {name for name in header if header.count(name) > 1}
            if repeated:
                raise DataError(f"{name}: the header names {min(repeated)!r} twice; give each column its own name")
            number = 0
            for cells in reader:
                if not cells:
                    continue
                number += 1
                where = f"{name}:row {number}"
                if len(cells) == len(header):
                    yield where, {name: _decode_cell(name, cell) for name, cell in zip(header, cells, strict=True)}
                    continue
                message = f"{len(cells)} cells, but the header names {len(header)}; quote cells that hold the separator"
                error = row_error(where, "wrong number of cells", message)
                if on_broken is None:
                    raise error
                on_broken(error)
        except csv.Error as error:
            raise DataError(f"{name}:line {reader.line_num}: {one_line(error)}") from error


def _open_csv(text: io.TextIOWrapper, tabs: bool) -> Any:
    """Open CSV or TSV; a .csv whose header holds tabs, or semicolons, and no comma is split there.

    A header that begins with "#" is that of a raw export: quotation marks in its cells are text.
    """
    first = text.readline()
    tabs = tabs or ("\t" in first and "," not in first)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if tabs and first.startswith("#") else csv.QUOTE_MINIMAL
    lines = itertools.chain([first] if first else [], text)
    mark = "\t" if tabs else ";" if ";" in first and "," not in first else ","
    return csv.reader(lines, delimiter=mark, quoting=quoting, strict=False)


def _decode_cell(column: str, cell: str) -> Any:
    """Return a cell, decoded where it holds a JSON list or a list of messages."""
    if cell[:1] != "[" or not (column in JSON_COLUMNS or '"role"' in cell):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if column in JSON_COLUMNS or all(isinstance(item, dict) for item in value) else cell


def rows_of_columns(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an object of columns: lists of one length, or pandas' objects of row number to cell."""
    columns = list(found.values())
    if columns and all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        numbers = list(columns[0])
        return [{c: cells[n] for c, cells in found.items()} for n in numbers] if all(map(str.isdigit, numbers)) else []
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return []
    # A row may hold lists of one length, too; texts in these columns are what one row never lists.
    is_table = any(isinstance(found.get(name), list) and all(isinstance(c, str) for c in found[name]) for name in ASKED)
    return [dict(zip(found, cells, strict=True)) for cells in zip(*columns, strict=True)] if is_table else []


def rows_of_frame(source: object) -> Any:
    """Return the rows of a DataFrame of pandas or Polars, or of a table of Arrow; anything else as it is."""
    if hasattr(source, "iterrows") and hasattr(source, "notna"):
        # A pandas DataFrame iterates over the names of its columns; its missing values are NaN.
        # A named index is a column as well: df.set_index("prompt") must not cost the prompts.
        frame = cast("Any", source)
        named = [name for name in frame.index.names if name is not None and name not in frame.columns]
        frame = frame.reset_index(level=named) if named else frame
        return [_without_arrays(row) for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]
    if hasattr(source, "to_pylist"):
        return source.to_pylist()
    return source.to_dicts() if hasattr(source, "to_dicts") else source


def _without_arrays(value: object) -> Any:
    """Return a cell with lists in place of the arrays that pandas makes of Parquet's lists, at any depth."""
    if isinstance(value, Mapping):
        return {name: _without_arrays(item) for name, item in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_without_arrays(item) for item in value] if isinstance(value, list) else value


def read_parquet(path: Path, skip: int = 0) -> Iterator[Row]:
    """Read Parquet by batches of one row group after the other; all at once, their buffers pile up.

    Row groups that lie before row `skip` as a whole are not read.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        first, before = 0, 0
        while first < file.num_row_groups and before + file.metadata.row_group(first).num_rows <= skip:
            before += file.metadata.row_group(first).num_rows
            first += 1
        one_by_one = (file.iter_batches(BATCH_ROWS, [index]) for index in range(first, file.num_row_groups))
        rows = _number_rows(path, itertools.chain.from_iterable(one_by_one), before)
        yield from islice(rows, skip - before, None)


def read_arrow(path: Path) -> Iterator[Row]:
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


def _number_rows(path: Path, batches: Iterator[Any], number: int = 0) -> Iterator[Row]:
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for row in batch.slice(start, BATCH_ROWS).to_pylist():
                number += 1
                yield f"{path.name}:row {number}", row


def check_output(path: Path) -> None:
    """Refuse a file name that says no known format. Raises ConfigError."""
    if not path.name.endswith(OUTPUT_SUFFIXES):
        raise ConfigError(f"{path.name}: unknown kind of output; end it in {', '.join(OUTPUT_SUFFIXES)}")


def write_rows(path: Path, make_rows: Callable[[], Rows]) -> int:
    """Write rows as the suffix of `path` says and give their number.

    Args:
        make_rows: begins the stream anew; formats with a header read it twice, first for the columns.

    Raises:
        ConfigError: an unknown suffix.
        DataError: a column whose values have no common type in Parquet.
    """
    check_output(path)
    if path.suffix == ".parquet":
        return _write_parquet(path, make_rows)
    if path.suffix in (".csv", ".tsv"):
        return _write_table(path, make_rows)
    number = 0
    with open_rows(path) as write:
        for row in make_rows():
            write(row)
            number += 1
    return number


def _write_table(path: Path, make_rows: Callable[[], Rows]) -> int:
    columns = list(dict.fromkeys(name for row in make_rows() for name in row))
    number = 0
    with replace_when_done(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        try:
            writer.writerow([_cell(name) for name in columns])
            for row in make_rows():
                writer.writerow([_cell(row.get(name)) for name in columns])
                number += 1
            stream.flush()
        except UnicodeEncodeError as error:
            raise DataError(
                f"a cell or a column's name holds a lone surrogate, which no {path.suffix} can; write .jsonl"
            ) from error
    return number


@contextmanager
def spreadsheet_cells() -> Iterator[None]:
    """Write, in a block, no cell of CSV or TSV that a spreadsheet would run as a formula.

    A text that begins with one of `FORMULA_MARKS` gets an apostrophe before it (OWASP, CSV injection), which is there
    when the file is read again; numbers stay.
    """
    token = _for_spreadsheets.set(True)
    try:
        yield
    finally:
        _for_spreadsheets.reset(token)


def _cell(value: object) -> Any:
    """Return what a cell holds: text as it is, nothing for None, numbers in full, the rest as JSON."""
    if isinstance(value, str) and value.startswith(FORMULA_MARKS) and _for_spreadsheets.get():
        return f"'{value}"
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _write_parquet(path: Path, make_rows: Callable[[], Rows]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        schema = pa.schema([])
        for batch in _batches(make_rows()):
            names = dict.fromkeys(name for row in batch for name in row)
            # from_pylist reads the columns off its first row.
            full = [{name: row.get(name) for name in names} for row in batch]
            found = pa.Table.from_pylist(full).schema
            schema = pa.unify_schemas([schema, found], promote_options="permissive")
        with replace_when_done(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for batch in _batches(make_rows()):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                number += len(batch)
    except pa.ArrowException as error:
        raise DataError(
            f"{path.name}: a column has no one type for Parquet ({one_line(error)}); write .jsonl"
        ) from error
    return number


def _batches(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    while batch := [dict(row) for row in islice(rows, BATCH_ROWS)]:
        yield batch


HUB_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".xz")


def read_hub(name: str, split: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (where, row) for every row of "owner/name", or of "owner/name/subset"; nothing is held in memory.

    "@REVISION" at the end names a branch, tag or commit. A subset is a configuration of the data set, or else a folder
    of its repository. The split is "train" when None.

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


def split_revision(name: str) -> tuple[str, str | None]:
    """Return what "owner/name@REVISION" names: a place of the hub, and its branch, tag or commit.

    A file or folder that is there, and what has no such end, comes back as it is, with None.
    """
    place, _, revision = name.partition("@")
    is_place = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)*", place) is not None and Path(name).suffix not in HUB_SUFFIXES
    return (place, revision) if revision and is_place and not Path(name).exists() else (name, None)


def at_revision(name: str, revision: str | None) -> str:
    """Return the name of a place of the hub with a revision at its end, unless it names one itself.

    Raises:
        ConfigError: a revision of a folder, which has none.
    """
    if not revision or split_revision(name)[1]:
        return name
    if Path(name).exists() or looks_local(name):
        raise ConfigError(f"{name} is no hub id, so it has no revision {revision!r}; leave the revision out")
    return f"{name}@{revision}"


def in_subset(name: str, subset: str | None) -> str:
    """Return the name of a configuration of a data set of the hub, its revision at the end."""
    place, revision = split_revision(name)
    return f"{place}/{subset}{f'@{revision}' if revision else ''}" if subset else name


def is_hub_id(name: str) -> bool:
    """Whether a text can be a hub id; a path of a data file is none."""
    return name.count("/") >= 1 and not name.startswith((".", "/", "~")) and Path(name).suffix not in HUB_SUFFIXES


def looks_local(name: str) -> bool:
    """Whether a text is written as a path, of something that is here or not: a repository has one slash at most."""
    return name.startswith((".", "/", "~")) or split_revision(name)[0].count("/") > 1


def _load(name: str, **options: Any) -> Any:
    """Load what `name` says with `datasets`. Raises DataError."""
    if not is_hub_id(name):
        raise DataError(f"{name[:200]!r}: no such file or folder, and not a hub id like 'owner/name'")
    from datasets import load_dataset

    place, revision = split_revision(name)
    owner, title, *subset = place.split("/", 2)
    repository, options = f"{owner}/{title}", {**options, "revision": revision}
    try:
        if not subset:
            return load_dataset(repository, **options)
        if subset[0] in _configurations(repository, revision):
            return load_dataset(repository, subset[0], **options)
        # A cache of a hub out of reach names no configurations, and says so with a ValueError.
        with suppress(ValueError):
            return load_dataset(repository, data_dir=subset[0], **options)
        return load_dataset(repository, subset[0], **options)
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this data set cannot be had.
        raise DataError(f"{name}: no such file or folder, and the hub cannot give it: {one_line(error)}") from error


def _configurations(repository: str, revision: str | None) -> list[str]:
    from datasets import get_dataset_config_names

    return list(get_dataset_config_names(repository, revision=revision))
