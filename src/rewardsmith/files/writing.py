"""Write rows to files so that an interruption leaves no half-written output: a temporary file, then a rename."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rewardsmith.errors import ConfigError

WriteRow = Callable[[Mapping[str, Any]], None]
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json")
PROBE_BYTES = 2**14


@contextlib.contextmanager
def replace_when_done(path: Path, synced: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name of `path` when the block ends without an error.

    Args:
        synced: wait until the disk holds the content and the name, so that not even a power cut takes them back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of 255 bytes are the longest that file systems take; two processes may write one path.
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if synced:
            _sync(temporary)
        os.replace(temporary, path)
        if synced:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_tree(folder: Path, recursive: bool = True) -> None:
    """Wait until the disk holds every file and name of a folder."""
    if recursive:
        for path in folder.rglob("*"):
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def check_free(path: Path, overwrite: bool, flag: str = "--overwrite") -> None:
    """Refuse to replace a file, or anything in a folder, that was not asked to be replaced.

    Raises:
        ConfigError: something lies at `path`; the message names the flag.
    """
    if (path.is_file() or (path.is_dir() and any(path.iterdir()))) and not overwrite:
        raise ConfigError(f"{path} is there already, perhaps trained on; add {flag}, or name another output")
    require_output(path)


def require_output(path: Path, is_file: bool = False) -> None:
    """Refuse a file or folder that cannot be written, before the work that it is of. Raises ConfigError."""
    if is_file and path.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a folder; name a file")
    if reason := _why_not_written(path if path.is_dir() else path.parent):
        raise ConfigError(f"{path} cannot be written: {reason}; name another place")


def require_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before anything is read or trained. Raises ConfigError."""
    if reason := _why_not_written(folder):
        raise ConfigError(f"output_dir {str(folder)!r} cannot be written: {reason}; name another")


def _why_not_written(folder: Path) -> str | None:
    """Say why a folder takes no file, or the one above it where it would be made; None where it takes one.

    A file is written, not asked for: rights say nothing of a full disk, of a read-only one to root, or of a folder
    that is frozen.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        return f"{place} is a file"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return f"{(error.strerror or str(error)).lower()} in {place}"
    return None


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; what UTF-8 cannot hold is escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with replace_when_done(Path(path)) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, value: object, indent: int = 2) -> None:
    """Write one JSON document, whole or not at all; dates and other objects become text."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n")


def to_json(value: object) -> str:
    """Return JSON on one line that every reader takes: objects such as dates as text, undefined numbers as null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value, default=str), parse_constant=lambda _: None), ensure_ascii=False)


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
    """Return one line of JSON; text that UTF-8 cannot hold is escaped."""
    line = to_json(row)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(json.loads(line))
    return line
