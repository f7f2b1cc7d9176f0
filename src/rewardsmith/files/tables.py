"""Write a stream of rows with any columns as JSON Lines, JSON, CSV or Parquet, in bounded memory, atomically."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.writing import SUFFIXES, open_rows, replace_when_done

Rows = Iterator[Mapping[str, Any]]
BATCH_ROWS = 256
OUTPUT_SUFFIXES = (*SUFFIXES, ".csv", ".tsv", ".parquet")


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
        writer.writerow(columns)
        for row in make_rows():
            writer.writerow([_cell(row.get(name)) for name in columns])
            number += 1
    return number


def _cell(value: Any) -> Any:
    """Give what a cell holds: text as it is, nothing for None, numbers in full, the rest as JSON."""
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
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path.name}: a column has no one type for Parquet ({reason}); write .jsonl") from error
    return number


def _batches(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    while batch := [dict(row) for row in islice(rows, BATCH_ROWS)]:
        yield batch
