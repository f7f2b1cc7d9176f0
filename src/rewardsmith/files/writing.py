"""Write rows to files so that an interruption leaves no half-written output: a temporary file, then a rename."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rewardsmith.data.formats import rewardsmith
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup

WriteRow = Callable[[Mapping[str, Any]], None]
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json")
BATCH_GROUPS = 512


@contextlib.contextmanager
def replace_when_done(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the name of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def open_rows(path: Path) -> Iterator[WriteRow]:
    """Give a function that writes one row, as JSON Lines (also .gz, .zst) or into one JSON array (.json)."""
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"{path.name}: rows are written as {', '.join(SUFFIXES)}; change the suffix")
    is_array = path.suffix == ".json"
    with replace_when_done(path) as temporary, _open_bytes(temporary, path.suffix) as stream:
        num_rows = 0

        def write(row: Mapping[str, Any]) -> None:
            nonlocal num_rows
            mark = ("[\n" if num_rows == 0 else ",\n") if is_array else ""
            stream.write((mark + _encode(row) + ("" if is_array else "\n")).encode())
            num_rows += 1

        yield write
        if is_array:
            stream.write(b"\n]\n" if num_rows else b"[]\n")


@contextlib.contextmanager
def open_groups(path: Path) -> Iterator[Callable[[PreferenceGroup], None]]:
    """Give a function that writes one group without loss, as JSON or, for .parquet, as a table."""
    if path.suffix != ".parquet":
        with open_rows(path) as write:
            yield lambda group: write(rewardsmith.write_row(group))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = rewardsmith.table_schema()
    with replace_when_done(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        pending: list[dict[str, Any]] = []

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(pending, schema=schema))
            pending.clear()

        def write_group(group: PreferenceGroup) -> None:
            pending.append(rewardsmith.write_table_row(group))
            if len(pending) >= BATCH_GROUPS:
                flush()

        yield write_group
        flush()


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, whole or not at all."""
    with replace_when_done(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _open_bytes(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    """Open the temporary file, packed as the final suffix says."""
    with path.open("wb") as raw:
        if suffix == ".gz":
            # No time and no name in the header: equal rows give equal files.
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        elif suffix == ".zst":
            import zstandard

            with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as stream:
                yield stream  # type: ignore[misc]
        else:
            yield raw


def _encode(row: Mapping[str, Any]) -> str:
    """Give one line of JSON; text that UTF-8 cannot hold is escaped."""
    line = rewardsmith.to_json(row)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(json.loads(line))
    return line
