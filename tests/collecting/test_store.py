"""A database that is opened, copied while it is in use, brought back, or damaged."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer, groups

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.store import Store, log_event, open_store, record_settings
from rewardsmith.errors import ConfigError, DataError


@contextmanager
def no_file_above(size):
    """Let the system refuse to make any file larger, as a full disk does."""
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, action)


def judgements(store):
    return [judged for item in load_items(store) for judged in item.judgements]


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


def test_a_copy_brings_back_what_was_judged_and_keeps_what_was_there(make, tmp_path):
    collection = make(4, repeats=0)
    person = annotator(collection)
    answer(collection, person)
    copy = collection.store.backup(tmp_path / "copies" / "copy.db")
    answer(collection, person)
    kept = collection.store.restore(copy)
    assert len(judgements(collection.store)) == 1
    assert len(judgements(open_store(f"sqlite:///{kept}"))) == 2
    # What people go on with is the restored database, also by connections that were open.
    assert answer(collection, person) is not None
    assert len(judgements(collection.store)) == 2


def test_a_database_that_is_gone_comes_back_from_its_copy(make, tmp_path):
    collection = make(1)
    answer(collection, annotator(collection))
    copy = collection.store.backup(tmp_path / "copy.db")
    collection.close()
    collection.store.path.unlink()
    assert Store(str(collection.store.url)).restore(copy) is None
    assert len(judgements(open_store(str(collection.store.url)))) == 1


def test_the_journal_of_a_killed_server_does_not_write_into_the_restored_database(make, tmp_path):
    collection = make(40, repeats=0)
    answer(collection, annotator(collection))
    copy = collection.store.backup(tmp_path / "copy.db")
    path = collection.store.path
    collection.close()
    # A process that dies in the middle of a large write leaves a journal that the next to open the file plays back.
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size=1'); c.execute('BEGIN IMMEDIATE');"
        'c.execute("UPDATE item SET prompt = hex(randomblob(4000))"); os._exit(9)'
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 9
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0
    store = Store(f"sqlite:///{path}")
    store.restore(copy)
    store.check()
    assert [item.prompt for item in load_items(store)] == [group.prompt for group in groups(40)]
    assert len(judgements(store)) == 1
    store.close()


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_what_is_no_copy_is_not_restored(make, tmp_path, content):
    collection = make(1)
    answer(collection, annotator(collection))
    odd = tmp_path / "odd.db"
    odd.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.db"):
        collection.store.restore(odd)
    assert len(judgements(collection.store)) == 1
    with pytest.raises(DataError, match="does not exist"):
        collection.store.restore(tmp_path / "nothing.db")


def test_a_copy_of_a_newer_program_is_not_restored(make, tmp_path):
    collection = make(1)
    copy = collection.store.backup(tmp_path / "copy.db")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(DataError, match="9999"):
        collection.store.restore(copy)


def test_a_copy_that_the_disk_cannot_hold_is_one_error_and_no_file(make, tmp_path):
    collection = make(30)
    place = tmp_path / "full"
    with no_file_above(20_000), pytest.raises(DataError, match=r"copy\.db could not be written"):
        collection.store.backup(place / "copy.db")
    assert list(place.iterdir()) == []
    assert len(load_items(collection.store)) == 30


def test_a_copy_to_where_nothing_can_be_written_is_an_error_of_the_system(make, tmp_path):
    collection = make(1)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "copy.db", "/proc/copy.db"):
        with pytest.raises(OSError, match=r"copy|file"):
            collection.store.backup(type(tmp_path)(place))


def test_what_does_not_fit_on_the_disk_is_not_acknowledged_and_what_was_saved_stays(make):
    collection = make(3, repeats=0)
    person = annotator(collection)
    answer(collection, person)
    with no_file_above(collection.store.path.stat().st_size), pytest.raises(sa.exc.OperationalError):
        add_items(collection.store, collection.project, groups(2000))
    assert len(load_items(collection.store)) == 3
    assert answer(collection, person) is not None
    assert len(judgements(collection.store)) == 2


def test_postgresql_is_copied_by_its_own_programs(postgres, tmp_path):
    store = Store(postgres.url("copies").replace("postgresql://", "postgresql+psycopg://"))
    for act in (store.backup, store.restore):
        with pytest.raises(ConfigError, match="pg_"):
            act(tmp_path / "copy.db")
    store.close()


@pytest.mark.parametrize("url", ["mysql://root@127.0.0.1/x", "oracle://x"])
def test_another_database_is_not_known(url):
    with pytest.raises(ConfigError, match="is not known"):
        Store(url)


def test_settings_are_a_new_row_only_where_they_differ(make):
    collection = make(1)
    with collection.store.transaction() as connection:
        same = record_settings(connection, collection.project)
        other = record_settings(connection, collection.project.model_copy(update={"overlap": 7}))
        assert (same, other) == (collection.settings_id, collection.settings_id + 1)


def test_a_block_that_fails_writes_nothing(make, database):
    collection = make(1, database=database)
    count = sa.select(sa.func.count()).select_from(t.event)
    with collection.store.transaction() as connection:
        before = connection.execute(count).scalar_one()

    def fail():
        with collection.store.transaction() as connection:
            log_event(connection, "somebody", "something", "x" * 500)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with collection.store.transaction() as connection:
        assert connection.execute(count).scalar_one() == before


def test_whoever_saves_beside_a_long_task_waits_for_a_piece_or_two_of_it(make):
    store = make(1).store
    other = Store(store.url.render_as_string(hide_password=False))
    done, seen, started = [], [], threading.Event()

    def save():
        started.wait()
        with other.transaction() as connection:
            log_event(connection, "somebody", "saved")
        seen.append(len(done))

    saver = threading.Thread(target=save)
    saver.start()
    for piece in store.pieces(range(40), 1):
        with store.transaction() as connection:
            started.set()
            time.sleep(0.03)
            log_event(connection, "task", "piece", *piece)
        done.append(piece)
    saver.join()
    other.close()
    assert seen[0] < 20
    assert len(done) == 40


def test_the_file_of_a_database_is_its_owners_alone(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    store.upgrade()
    store.close()
    assert os.stat(store.path).st_mode & 0o077 == 0
