"""A database of every earlier version, and one that is copied while it is in use."""

import json
import sqlite3
import threading
from contextlib import closing

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer

from rewardsmith.collecting import create
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.store import Store, open_store
from rewardsmith.errors import ConfigError, DataError

ROWS = {
    "settings": {"id": 1, "created": 1.0, "project": json.dumps({})},
    "item": {"id": 1, "key": "k", "kind": "real", "prompt": '"q"', "info": "{}",
             "overlap": 2, "rank": 0.5, "is_closed": 0, "created": 1.0},
    "completion": {"item_id": 1, "number": 0, "text": '"a"'},
    "person": {"id": 1, "name": "ann", "role": "annotator", "alias": "r", "status": "active", "created": 1.0},
    "slot": {"id": 1, "item_id": 1, "n": 0, "again": 0, "person_id": 1, "state": "done", "rank": 0.5},
    "judgement": {
        "id": 1, "slot_id": 1, "revision": 1, "item_id": 1, "person_id": 1, "kind": "answer", "key": "x",
        "answer": '{"answers": {"overall": {"order": [[0], [1]]}}}', "shown": "[1, 0]",
        "settings_id": 1, "created": 1.0,
    },
}  # fmt: skip


def old_database(path, version):
    store = Store(f"sqlite:///{path}")
    store.upgrade(version)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        for table, row in ROWS.items():
            names = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
        more = {"item_id": 1, "number": 1, "text": '"b"'}
        connection.execute("INSERT INTO completion (item_id, number, text) VALUES (?, ?, ?)", list(more.values()))
        connection.execute("INSERT INTO slot (id, item_id, n, again, state, rank) VALUES (2, 1, 1, 0, 'open', 0.5)")
        connection.commit()


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_every_earlier_version_upgrades_with_its_judgements_and_goes_on(tmp_path, version):
    path = tmp_path / "old.db"
    old_database(path, version)
    url = f"sqlite:///{path}"
    if version != "0004":
        with pytest.raises(DataError, match="collect upgrade"):
            open_store(url)
    store = Store(url)
    store.upgrade()
    store.check()
    judged = load_items(store)[0].judgements
    assert [one.answer["answers"]["overall"]["order"] for one in judged] == [[[0], [1]]]
    assert judged[0].order_name == "random"
    with store.transaction() as connection:
        connection.execute(
            sa.insert(t.person).values(id=2, name="bob", role="annotator", alias="s", status="active", created=1.0)
        )
    project_file = tmp_path / "old.yaml"
    project_file.write_text("question: x\n")
    collection = create(project_file)
    assert claim(collection.store, collection.project, 2) is not None
    collection.close()
    store.close()


def test_the_migrations_make_the_tables_of_the_program(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    store.upgrade()
    found = sa.inspect(store.engine)
    for table in t.metadata.sorted_tables:
        assert {column["name"] for column in found.get_columns(table.name)} == {column.name for column in table.columns}
    store.close()


def test_a_copy_taken_while_people_judge_is_whole(make, tmp_path):
    collection = make(60, repeats=0)
    person = annotator(collection)
    stop = threading.Event()
    acknowledged = []

    def work():
        while not stop.is_set() and (done := answer(collection, person)) is not None:
            acknowledged.append(done[1].judgement_id)

    thread = threading.Thread(target=work)
    thread.start()
    copies = []
    for number in range(5):
        known = len(acknowledged)
        copies.append((known, collection.store.backup(tmp_path / f"copy{number}.db")))
    stop.set()
    thread.join()
    for known, path in copies:
        restored = open_store(f"sqlite:///{path}")
        judged = [one for item in load_items(restored) for one in item.judgements]
        assert len(judged) >= known
        restored.close()


def test_a_copy_writes_over_nothing(make, tmp_path):
    collection = make(1)
    target = tmp_path / "there.db"
    target.write_text("something")
    with pytest.raises(ConfigError, match="exists"):
        collection.store.backup(target)
    assert target.read_text() == "something"


def test_a_damaged_database_is_refused(make):
    collection = make(200)
    path = collection.store.path
    collection.close()
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\xff" * (40960 - 4096)
    path.write_bytes(bytes(content))
    with pytest.raises((DataError, sa.exc.DatabaseError)):
        open_store(f"sqlite:///{path}")
