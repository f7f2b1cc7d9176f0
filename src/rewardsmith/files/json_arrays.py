"""Read a large JSON array element by element; memory holds one element and one piece of the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from rewardsmith.errors import DataError, one_line, row_error

CHUNK_BYTES = 1 << 16
BLANK = re.compile(r"[ \t\r\n]*")


def read_json(stream: IO[bytes], name: str) -> Iterator[Any]:
    """Give the elements of a top-level array, or the objects that stand one after the other.

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
        self.decoder = json.JSONDecoder()
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
        """Give the next character that is not blank, or "" at the end."""
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
            self.grow()

    def _may_be_cut(self, error: Exception) -> bool:
        """Whether more text could repair the error: it lies at the end of the window, or in an open string."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.msg.startswith(("Unterminated", "Invalid \\")) or error.pos >= len(self.text) - 16
