"""`-` on a command line: rows from standard input, and the output to standard output.

Commands read their input several times and write whole files, so both go through a folder that is gone at the end.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rewardsmith.errors import DataError, UsageError
from rewardsmith.files.reading import CHUNK_BYTES, open_bytes

# Arguments that name data.
INPUTS = ("input", "source", "data", "data_alone", "train", "test", "held_out", "samples", "prompts", "files")
OF_TRAINING = ("train_data", "dataset_name", "eval_dataset_name")
# Commands whose output is one file of rows.
WRITERS = ("data convert", "data merge", "data overlap", "data simulate", "score", "rank", "collect export")
PACKED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"\xfd7zXZ\x00": ".xz"}
TABLES = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow"}


@contextlib.contextmanager
def standard_streams(command: str, given: dict[str, Any]) -> Iterator[None]:
    """Put files in the place of `-` among the arguments of a command, in place, until the block ends.

    Raises:
        UsageError: a command that does not write one file of rows, or standard input that is named twice.
        DataError: standard input that is empty or of no known kind.
    """
    reads = [name for name in (*INPUTS, *OF_TRAINING) for value in _listed(given.get(name)) if value == "-"]
    outputs = [name for name in ("out", "out_flag", "output_dir") if str(given.get(name)) == "-"]
    if not reads and not outputs:
        yield
        return
    if len(reads) > 1:
        raise UsageError("- is standard input, which can be read once; name files for the others")
    if outputs and (command not in WRITERS or given.get("to") == "parquet"):
        raise UsageError(f"{command} writes {_written(given)}, which standard output cannot hold; name it instead of -")
    with tempfile.TemporaryDirectory(prefix="rewardsmith-") as folder:
        for name in reads:
            path = str(_take_in(Path(folder)))
            value = given[name]
            given[name] = [path if one == "-" else one for one in value] if isinstance(value, list) else path
        if not outputs:
            yield
            return
        out = Path(folder) / "stdout.jsonl"
        given[outputs[0]] = out
        with contextlib.redirect_stdout(_Stderr(out)):
            yield
        _hand_out(out)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _written(given: dict[str, Any]) -> str:
    return "a table of Parquet" if given.get("to") == "parquet" else "a folder, or files beside its output"


def _take_in(folder: Path) -> Path:
    """Store standard input in a file with the suffix of what it holds. Raises DataError."""
    if sys.stdin.isatty():
        print("reading rows from the terminal; Ctrl-D ends them", file=sys.stderr)
    stored = folder / "stdin"
    with stored.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    with stored.open("rb") as file:
        head = file.read(max(map(len, PACKED)))
    packed = next((end for mark, end in PACKED.items() if head.startswith(mark)), "")
    unpacked = stored.rename(stored.with_name(f"stdin{packed}"))
    with open_bytes(unpacked) as stream:
        return unpacked.rename(folder / f"stdin{_kind_of(stream)}{packed}")


def _kind_of(stream: IO[bytes]) -> str:
    """Return the suffix that says how to read a stream: of a table by its mark, of text by its first line."""
    head = stream.read(CHUNK_BYTES)
    if table := next((suffix for mark, suffix in TABLES.items() if head.startswith(mark)), ""):
        return table
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise DataError("standard input is empty; - reads rows from it")
    first = text.splitlines()[0].rstrip()
    if text.startswith((b"{", b"[")):
        # An object that goes on in the next line is no line of JSON Lines.
        return (
            ".jsonl" if first.startswith(b"{") and (first.endswith(b"}") or len(first) > CHUNK_BYTES // 2) else ".json"
        )
    if b"\x00" in head:
        raise DataError("standard input is of no known kind; give JSON Lines, JSON, CSV, TSV, Parquet or Arrow")
    return ".tsv" if first.count(b"\t") > first.count(b",") else ".csv"


class _Stderr(io.TextIOBase):
    """Standard error in the place of standard output, which holds the rows; a temporary path is called stdout."""

    def __init__(self, out: Path) -> None:
        self.out = str(out)

    def write(self, text: str) -> int:
        return sys.stderr.write(text.replace(self.out, "stdout"))

    def flush(self) -> None:
        sys.stderr.flush()


def _hand_out(out: Path) -> None:
    """Copy rows to standard output, and rows that could not be scored to standard error."""
    for path, stream in ((out.with_name(f"{out.name}.errors.jsonl"), sys.stderr), (out, sys.stdout)):
        if path.exists():
            stream.flush()
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream.buffer)
            stream.flush()
