"""A database that is checked and copied while people write into it."""

import sqlite3
from contextlib import closing

import pytest

from rewardsmith.collecting import copying
from rewardsmith.collecting.copying import copy_database, find_damage

WAYS = {"pieces": {}, "at once": {"PATIENCE_SECONDS": -1.0}, "in place": {"MOST_BYTES": 0}}


@pytest.fixture(params=WAYS)
def path(request, tmp_path, monkeypatch):
    for name, value in {"PIECE": 4, **WAYS[request.param]}.items():
        monkeypatch.setattr(copying, name, value)
    path = tmp_path / "project.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, prompt TEXT)")
        database.executemany("INSERT INTO item (prompt) VALUES (?)", [("x" * 1000,)] * 100)
        database.commit()
    return path


def count(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM item").fetchone()[0]


def test_damage_is_found_and_nothing_is_left_beside_the_file(path):
    assert find_damage(path) == "ok"
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(bytes(content))
    assert find_damage(path) != "ok"
    assert list(path.parent.iterdir()) == [path]


def test_who_saves_does_not_wait_for_the_check(path, monkeypatch):
    if copying.MOST_BYTES == 0:
        pytest.skip("what memory does not hold is checked in place")
    check = copying._quick_check

    def save_and_check(database):
        with closing(sqlite3.connect(path, timeout=0)) as other:
            other.execute("INSERT INTO item (prompt) VALUES ('saved meanwhile')")
            other.commit()
        return check(database)

    monkeypatch.setattr(copying, "_quick_check", save_and_check)
    assert find_damage(path) == "ok"
    assert count(path) == 101


def test_a_copy_is_whole(path, tmp_path):
    assert copy_database(path, tmp_path / "copy.db") == "ok"
    assert count(tmp_path / "copy.db") == 100
