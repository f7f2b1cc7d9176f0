"""Read the rows of a file or folder one by one, whatever its layout; memory does not grow with the file.

JSON Lines (also .gz, .zst and .xz), JSON arrays, CSV, TSV, Parquet, Arrow, folders saved by `datasets`, and folders of
such files. In files rows count from 1, so that a row of JSON Lines is the line that an editor shows.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from rewardsmith.errors import DataError, RewardsmithError, RowError, one_line, row_error
from rewardsmith.files.tables import OnBroken, Row, read_arrow, read_csv, read_parquet, rows_of_columns

# Rows of a folder whose files belong together, or None for a folder of another kind.
FolderReader = Callable[[Path, str | None, OnBroken | None], Iterator[Row] | None]
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "eval")}
CHUNK_BYTES = 1 << 16
BLANK = re.compile(r"[ \t\r\n]*")
# No row of preferences is as long; what is, would take several times as much memory.
MOST_ROW = 64 << 20
MOST_BLANK = 1_000_000


def read_json_lines(path: Path) -> list[Any]:
    """Return the rows of a small file of JSON Lines, ended by a line feed alone: a text may hold U+2028 or U+0085."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]


def read_rows(
    path: str | Path,
    *,
    split: str | None = None,
    on_broken: OnBroken | None = None,
    folders: Sequence[FolderReader] = (),
    skip: int = 0,
) -> Iterator[Row]:
    """Yield (where, row) for every row, `where` being like "train.jsonl:row 12".

    Args:
        split: which split of a folder that holds several.
        folders: readers of folders that only make sense together, asked first.
        on_broken: called with the error of a row that cannot be read, after which reading goes on; without it the
            error is raised. Files that cannot be read any further always raise.
        skip: the number of the row in a file behind which reading begins; lines of JSON are not parsed up to it.

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
        yield from READERS[kind](path, on_broken) if not skip else _rows_behind(skip, path, kind, on_broken)
    except RewardsmithError:
        raise
    except (OSError, EOFError, UnicodeError, ValueError, RecursionError, lzma.LZMAError) as error:
        # Tables that spreadsheets save are often of another encoding.
        remedy = "; save the file as UTF-8" if isinstance(error, UnicodeError) else ""
        raise DataError(f"{path.name}: cannot be read as {kind[1:]}: {one_line(error)}{remedy}") from error


def row_number(where: str) -> int:
    """Return the number of a row in its file, of the `where` that `read_rows` gave."""
    return int(where.rpartition(" ")[2])


def _rows_behind(skip: int, path: Path, kind: str, on_broken: OnBroken | None) -> Iterator[Row]:
    if kind in (".jsonl", ".ndjson"):
        return _read_jsonl(path, on_broken, skip)
    if kind == ".parquet":
        return read_parquet(path, skip)

    def broken(error: RowError) -> None:
        # The place of an error begins its message: "train.csv:row 12: ...".
        if row_number(str(error).removeprefix(f"{path.name}:").split(":")[0]) > skip:
            _hand_over(error, error, on_broken)

    return (item for item in READERS[kind](path, broken) if row_number(item[0]) > skip)


def file_kind(path: Path) -> str | None:
    """Return the suffix that says how to read a file, without its compression; None for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst", ".xz"):
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else None


def data_files(folder: Path) -> list[Path]:
    """Return the files of a folder, in order, that hold rows; hidden ones and descriptions are left out."""
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


def _read_jsonl(path: Path, on_broken: OnBroken | None, skip: int = 0) -> Iterator[Row]:
    """Read one JSON object a line; blank lines are skipped."""
    with open_bytes(path) as lines:
        for number, line in enumerate(_lines(lines, path), 1):
            if number <= skip:
                continue
            if number == 1 and line is not None:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line is not None and (line.isspace() or not line):
                continue
            where = f"{path.name}:row {number}"
            try:
                if line is None:
                    raise row_error(where, "too long", f"the line is longer than {MOST_ROW >> 20} MiB; remove it")
                row = DECODER.decode(line.decode("utf-8"))
                if not isinstance(row, dict):
                    raise ValueError(f"a row must be an object {{...}}, not {type(row).__name__}")
            except RowError as error:
                _hand_over(error, error, on_broken)
                continue
            except (ValueError, RecursionError) as error:
                message = f"broken JSON: {one_line(error)}; repair or remove the line"
                _hand_over(row_error(where, "broken JSON", message), error, on_broken)
                continue
            yield where, row


def _hand_over(problem: RowError, cause: Exception, on_broken: OnBroken | None) -> None:
    """Hand the error of a row to the caller, or raise it."""
    if on_broken is None:
        raise problem from cause
    on_broken(problem)


def _lines(stream: IO[bytes], path: Path) -> Iterator[bytes | None]:
    """Yield lines, None for one that is longer than `MOST_ROW`; errors of the decompression are ours.

    Raises:
        DataError: damaged data, or blank lines without end, as a few bytes of a compressed file can hold.
    """
    blank = 0
    try:
        while line := stream.readline(MOST_ROW + 1):
            blank = blank + 1 if line.isspace() else 0
            if blank > MOST_BLANK:
                raise DataError(f"{path.name}: more than {MOST_BLANK:,} blank lines in a row; export the file again")
            if len(line) <= MOST_ROW:
                yield line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK_BYTES)
            yield None
    except Exception as error:
        if isinstance(error, OSError | EOFError) or type(error).__name__ in ("ZstdError", "LZMAError", "error"):
            raise DataError(f"{path.name}: the compressed data are damaged: {one_line(error)}") from error
        raise


def keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys stand once; the plain decoder silently takes the last of two."""
    found = dict(pairs)
    if len(found) < len(pairs):
        # Linear in the names, of which a hostile object has hundreds of thousands.
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return found


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


def read_json(stream: IO[bytes], name: str) -> Iterator[Any]:
    """Yield the elements of a top-level array, or the objects that stand one after the other.

    A single object whose only list of objects is its one value (`{"data": [...]}`) gives that list's elements.

    Raises:
        DataError: the text is no JSON; the message names file and row.
    """
    window = _Window(stream, name)
    first = window.peek()
    if first == "":
        return
    if first != "[":
        yield from _read_objects(window, name)
        return
    window.take(1)
    if window.peek() == "]":
        return
    number = 1
    while True:
        yield window.decode(f"{name}:row {number}")
        separator = window.peek()
        window.take(1)
        if separator == "]":
            break
        if separator != ",":
            found = repr(separator) if separator else "the end of the file"
            raise row_error(
                f"{name}:row {number}",
                "broken JSON",
                f"expected ',' or ']' after the row, found {found}; re-export the file",
            )
        number += 1
    if window.peek():
        raise row_error(f"{name}:row {number}", "broken JSON", "text follows the closing ']'; re-export the file")


def _read_objects(window: _Window, name: str) -> Iterator[Any]:
    """Read objects one after the other, such as JSON Lines in a .json file."""
    first = window.decode(f"{name}:row 1")
    lists = [v for v in first.values() if isinstance(v, list)] if isinstance(first, dict) and len(first) == 1 else []
    if lists and lists[0] and all(isinstance(item, dict) for item in lists[0]) and not window.peek():
        yield from lists[0]
        return
    if isinstance(first, dict) and (table := rows_of_columns(first)) and not window.peek():
        yield from table
        return
    yield first
    number = 2
    while window.peek():
        yield window.decode(f"{name}:row {number}")
        number += 1


class _Window:
    """A sliding piece of the file's text: what is decoded is dropped."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.stream = stream
        self.name = name
        self.text = ""
        self.place = 0
        self.ended = False
        self.decoder = DECODER
        self.utf8 = codecs.getincrementaldecoder("utf-8-sig")()

    def grow(self) -> None:
        """Drop what is decoded and read at least as much again as is left."""
        self.text = self.text[self.place :]
        self.place = 0
        piece = self.stream.read(max(CHUNK_BYTES, len(self.text)))
        self.ended = not piece
        try:
            self.text += self.utf8.decode(piece, final=self.ended)
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name}: not UTF-8 ({error.reason}); re-export the file as UTF-8") from error

    def peek(self) -> str:
        """Return the next character that is not blank, or "" at the end."""
        while True:
            match = BLANK.match(self.text, self.place)
            self.place = match.end() if match else self.place
            if self.place < len(self.text) or self.ended:
                return self.text[self.place : self.place + 1]
            self.grow()

    def take(self, count: int) -> None:
        """Step over characters."""
        self.place += count

    def decode(self, where: str) -> Any:
        """Decode one value. A value cut by the end of the window is tried again with more text."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
                # A number may go on behind the window; every other value ends with its own mark.
                if end < len(self.text) or self.ended:
                    self.place = end
                    return value
            except (ValueError, RecursionError) as error:
                if self.ended or not self._may_be_cut(error):
                    message = f"broken JSON: {one_line(error)}; repair the row"
                    raise row_error(where, "broken JSON", message) from error
            if len(self.text) - self.place > MOST_ROW:
                raise row_error(where, "too long", f"the row is longer than {MOST_ROW >> 20} Mi characters; remove it")
            self.grow()

    def _may_be_cut(self, error: Exception) -> bool:
        """Whether more text could repair the error: it lies at the end of the window, or in an open string."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.msg.startswith(("Unterminated", "Invalid \\")) or error.pos >= len(self.text) - 16


DECODER = json.JSONDecoder(object_pairs_hook=keys_once)
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
