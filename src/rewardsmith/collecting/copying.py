"""SQLite files copied and checked while people write into them: a save waits for a piece of the copy, not for all."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

BUSY_MS = 30_000
# Pages that are copied under one lock, and how long a copy that every write starts anew goes on so.
PIECE, PATIENCE_SECONDS = 1000, 1.5
# What a check takes into memory.
MOST_BYTES, ROOM_BYTES = 2**29, 2**22


class _Unsettled(Exception):
    """Others write so often that no copy in pieces comes to its end."""


def connect(path: Path | str) -> contextlib.closing[sqlite3.Connection]:
    """Open a file, and wait for others as every part of a collection does."""
    return contextlib.closing(sqlite3.connect(path, timeout=BUSY_MS / 1000))


def copy_database(source: Path, target: Path) -> str:
    """Copy a database into a file, as of one moment; returns "ok" or what is wrong with it. Raises sqlite3.Error."""
    with connect(source) as old, connect(target) as new:
        try:
            _copy_in_pieces(old, new)
        except _Unsettled:
            old.backup(new)
        return str(new.execute("PRAGMA integrity_check").fetchone()[0])


def find_damage(path: Path) -> str:
    """Return "ok" or what is wrong with a database.

    The check reads every page, and whoever saves would wait as long: up to `MOST_BYTES` it is made on a copy in
    memory. In WAL mode readers keep nobody waiting. Raises sqlite3.OperationalError for a file that cannot be read.
    """
    try:
        return _find_damage(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)


def _find_damage(path: Path) -> str:
    with connect(path) as database:
        is_wal = database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if is_wal or path.stat().st_size > MOST_BYTES:
            return _quick_check(database)
        with connect(":memory:") as copy:
            try:
                _copy_in_pieces(database, copy)
            except _Unsettled:
                copy.deserialize(_read(path, database))
            return _quick_check(copy)


def _read(path: Path, database: sqlite3.Connection) -> memoryview:
    """Read a file as a whole, faster than its pages one by one; the lock of a reader keeps it as it is."""
    # Filled, so that no page of memory is fetched while others wait; a file that grows meanwhile has room.
    room = memoryview(bytearray(b"x") * (path.stat().st_size + ROOM_BYTES))
    database.execute("BEGIN")
    database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    with path.open("rb", buffering=0) as file:
        size = file.readinto(room)
    database.rollback()
    return room[:size]


def _quick_check(database: sqlite3.Connection) -> str:
    return str(database.execute("PRAGMA quick_check").fetchone()[0])


def _copy_in_pieces(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Copy piece by piece; a write in between starts it anew. Raises _Unsettled."""
    until = time.monotonic() + PATIENCE_SECONDS

    def look(status: int, remaining: int, total: int) -> None:
        if remaining and time.monotonic() > until:
            raise _Unsettled

    old.backup(new, pages=PIECE, progress=look, sleep=0.01)
