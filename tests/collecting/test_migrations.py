"""A database of every earlier version."""

import json

import pytest
import sqlalchemy as sa

from rewardsmith.collecting import create
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.project import Project, database_url
from rewardsmith.collecting.store import Store, open_store
from rewardsmith.errors import DataError

ROWS = {
    "settings": {"id": 1, "created": 1.0, "project": json.dumps({})},
    "item": {"id": 1, "key": "k", "kind": "real", "prompt": '"q"', "info": "{}",
             "overlap": 2, "rank": 0.5, "is_closed": False, "created": 1.0},
    "completion": {"item_id": 1, "number": 0, "text": '"a"'},
    "person": {"id": 1, "name": "ann", "role": "annotator", "alias": "r", "status": "active", "created": 1.0},
    "slot": {"id": 1, "item_id": 1, "n": 0, "again": False, "person_id": 1, "state": "done", "rank": 0.5},
    "judgement": {
        "id": 1, "slot_id": 1, "revision": 1, "item_id": 1, "person_id": 1, "kind": "answer", "key": "x",
        "answer": '{"answers": {"overall": {"order": [[0], [1]]}}}', "shown": "[1, 0]",
        "settings_id": 1, "created": 1.0,
    },
}  # fmt: skip
MORE = [
    ("completion", {"item_id": 1, "number": 1, "text": '"b"'}),
    ("slot", {"id": 2, "item_id": 1, "n": 1, "again": False, "person_id": None, "state": "open", "rank": 0.5}),
    ("person", {"id": 2, "name": "bob", "role": "annotator", "alias": "s", "status": "active", "created": 1.0}),
]


def old_database(url, version):
    """Make a database as an earlier version left it, with a judgement."""
    store = Store(url)
    store.upgrade(version)
    with store.transaction() as connection:
        for table, row in [*ROWS.items(), *MORE]:
            names = ", ".join(f'"{name}"' for name in row)
            values = ", ".join("NULL" if value is None else repr(value) for value in row.values())
            connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({values})")
            if "id" in row and not store.is_sqlite:
                connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {row['id']})")
    return store


@pytest.fixture
def url(tmp_path, database):
    return database_url(Project(database=database or "old.db"), tmp_path / "old.yaml")


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_every_earlier_version_upgrades_with_its_judgements_and_goes_on(tmp_path, url, database, version):
    store = old_database(url, version)
    if version != "0004":
        with pytest.raises(DataError, match="collect upgrade"):
            open_store(url)
    assert store.upgrade() == version
    store.check()
    judged = load_items(store)[0].judgements
    assert [one.answer["answers"]["overall"]["order"] for one in judged] == [[[0], [1]]]
    assert judged[0].order_name == "random"
    project_file = tmp_path / "old.yaml"
    project_file.write_text(f"question: x\ndatabase: {database or 'old.db'}\n")
    collection = create(project_file)
    assert claim(collection.store, collection.project, 2) is not None
    collection.close()
    store.close()


def test_an_upgrade_that_fails_in_the_middle_leaves_the_database_as_it_was(url):
    store = old_database(url, "0001")
    with store.transaction() as connection:
        # 0002 passes, then 0003 finds its table taken.
        connection.exec_driver_sql("CREATE TABLE panelist (id INTEGER)")
    with pytest.raises(sa.exc.DBAPIError, match="panelist"):
        store.upgrade()
    assert store.version() == "0001"
    assert "order_name" not in {column["name"] for column in sa.inspect(store.engine).get_columns("judgement")}
    with store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM judgement").scalar() == 1
        connection.exec_driver_sql("DROP TABLE panelist")
    assert store.upgrade() == "0001"
    store.check()
    assert len(load_items(store)[0].judgements) == 1
    store.close()


def test_a_database_of_a_newer_program_is_left_alone(url):
    store = old_database(url, "head")
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for act in (store.upgrade, store.check):
        with pytest.raises(DataError, match="upgrade Rewardsmith"):
            act()
    store.close()


def test_the_migrations_make_the_tables_of_the_program(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    store.upgrade()
    found = sa.inspect(store.engine)
    for table in t.metadata.sorted_tables:
        assert {column["name"] for column in found.get_columns(table.name)} == {column.name for column in table.columns}
    store.close()
