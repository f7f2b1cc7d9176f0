"""A project's database: opening, transactions, upgrading, backup.

SQLite runs with a rollback journal and synchronous=EXTRA, because its WAL mode can corrupt a database before 3.51.3
(sqlite.org/wal.html#walresetbug). A transaction begins IMMEDIATE, and threads of one process queue for it at a lock;
other processes ask every few ms, as SQLite's own waiting sleeps up to 100 ms at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.copying import BUSY_MS, copy_database, find_damage
from rewardsmith.collecting.project import Project
from rewardsmith.errors import ConfigError, DataError

SAFE_WAL = (3, 51, 3)
REMOTE_FILES = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "9p", "fuse.sshfs", "afs", "ceph"}
# How often a process asks for a database that another one holds, and for how long a long task leaves it free.
ASK_SECONDS, FREE_SECONDS = 0.005, 0.02
T = TypeVar("T")


class Store:
    """One open database.

    Args:
        url: of SQLAlchemy; `database_url` makes it.
        pool: connections kept open to PostgreSQL.
    """

    def __init__(self, url: str, pool: int = 10) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._lock = threading.RLock() if self.is_sqlite else contextlib.nullcontext()
        self.engine = self._sqlite() if self.is_sqlite else self._postgres(pool)

    def _sqlite(self) -> sa.Engine:
        _refuse_remote(self.path)
        engine = sa.create_engine(self.url, connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000})
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def _postgres(self, pool: int) -> sa.Engine:
        if self.url.get_backend_name() != "postgresql":
            raise ConfigError(f"database {self.url.drivername!r} is not known; give a file name or postgresql://...")
        return sa.create_engine(self.url, pool_size=pool, max_overflow=pool, pool_pre_ping=True)

    @property
    def path(self) -> Path:
        """The file of an SQLite database."""
        return Path(str(self.url.database))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run a block as one transaction; what it wrote is on disk when the block has ended."""
        with self._lock, self.engine.begin() as connection:
            yield connection

    def pieces(self, rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
        """Cut a long task into pieces, each for a transaction of its own; between two, SQLite is left free.

        Without a pause a piece takes the database again before anybody who waits has asked for it.
        """
        for start in range(0, len(rows), size):
            if start and self.is_sqlite:
                time.sleep(FREE_SECONDS)
            yield rows[start : start + size]

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    def version(self) -> str | None:
        """Return the migration that the database is at; None for an empty one."""
        with self.transaction() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def upgrade(self, revision: str = "head") -> str | None:
        """Run the migrations that are missing, all or none of them; returns the version from before.

        Raises:
            DataError: a database that a newer program made.
        """
        if self.is_sqlite and not self.path.exists():
            self.path.touch(mode=0o600)
        before = self.version()
        _check_known(before)
        with self.transaction() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7230113)")
            command.upgrade(_alembic(connection), revision)
        return before

    def check(self) -> None:
        """Refuse a damaged database or one of another version. Raises DataError."""
        found, wanted = self.version(), ScriptDirectory.from_config(_alembic()).get_current_head()
        if found != wanted:
            newer = found is not None and wanted is not None and found > wanted
            advice = "upgrade Rewardsmith" if newer else "run: rewardsmith collect upgrade"
            raise DataError(f"the database is at version {found or 'none'}, this program needs {wanted}; {advice}")
        if self.is_sqlite:
            try:
                state = find_damage(self.path)
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be read: {error}") from error
            if state != "ok":
                raise DataError(
                    f"{self.path} is damaged ({state}); bring a copy back: rewardsmith collect restore COPY"
                )

    def backup(self, target: Path) -> Path:
        """Copy an SQLite database while it is in use, whole; refuses to write over a file.

        Raises:
            ConfigError: PostgreSQL, which has pg_dump, or a target that exists.
            DataError: the copy could not be written, or the database is damaged; no file is left.
        """
        if not self.is_sqlite:
            raise ConfigError("back a PostgreSQL database up with pg_dump; this command copies SQLite files")
        if target.exists():
            raise ConfigError(f"{target} exists; choose another file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            temporary.touch(mode=0o600)
            _copy(self.path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except sqlite3.Error as error:
            raise DataError(f"{target} could not be written: {error}") from error
        finally:
            for name in (temporary, temporary.with_name(f"{temporary.name}-journal")):
                name.unlink(missing_ok=True)
        return target

    def keep_copy(self) -> Path:
        """Copy an SQLite database beside itself, under the time; returns the copy."""
        return self.backup(self.path.with_name(f"{self.path.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak"))

    def restore(self, source: Path) -> Path | None:
        """Put a copy in the place of an SQLite database, in one transaction; the server should be stopped.

        A journal that a killed server left is settled first: beside a file that was merely copied over, it would write
        old pages into the new one. Returns the copy of what was there before; None where nothing was.

        Raises:
            ConfigError: PostgreSQL.
            DataError: `source` is no whole database of a project, or cannot be written.
        """
        if not self.is_sqlite:
            raise ConfigError(
                "restore a PostgreSQL database with pg_restore; this command takes copies of SQLite files"
            )
        if not source.is_file():
            raise DataError(f"{source} does not exist")
        try:
            _check_known(_version_of_copy(source))
            kept = self.keep_copy() if self.path.exists() else None
            _copy(source, self.path)
        except sqlite3.Error as error:
            raise DataError(f"{source} was not restored to {self.path}: {error}") from error
        return kept


def _copy(source: Path, target: Path) -> None:
    """Copy one SQLite file into another and check what came of it. Raises DataError, sqlite3.Error."""
    if copy_database(source, target) != "ok":
        raise DataError(f"the copy of {source} is damaged; the database itself may be, too")


def _version_of_copy(path: Path) -> str:
    """Return the version of a whole copy, which is only read. Raises DataError, sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as copy:
        state = copy.execute("PRAGMA quick_check").fetchone()[0]
        tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master")}
        if state != "ok" or not {"alembic_version", "judgement"} <= tables:
            raise DataError(f"{path} is {f'damaged ({state})' if state != 'ok' else 'no database of a collection'}")
        return str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _check_known(version: str | None) -> None:
    """Refuse the version of a newer program. Raises DataError."""
    known = [script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()]
    if version is not None and version not in known:
        raise DataError(f"the database is at version {version}, this program knows {known[0]}; upgrade Rewardsmith")


def open_store(url: str, *, create: bool = False) -> Store:
    """Open a project's database, checked; `create` makes or upgrades it first.

    Raises:
        DataError: the database is absent, damaged or of another version.
    """
    store = Store(url)
    if create:
        store.upgrade()
    elif store.is_sqlite and not store.path.exists():
        raise DataError(f"{store.path} does not exist; make it with: rewardsmith collect init PROJECT.yaml")
    try:
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def record_settings(connection: Connection, project: Project) -> int:
    """Return the id of these settings; settings that differ from the last become a new row."""
    values = project.model_dump(mode="json", exclude={"database"})
    last = connection.execute(sa.select(t.settings).order_by(t.settings.c.id.desc()).limit(1)).first()
    if last is not None and last.project == values:
        return int(last.id)
    return insert(connection, t.settings, created=time.time(), project=values)


@contextlib.contextmanager
def thawed(connection: Connection, *tables: str) -> Iterator[None]:
    """Let rows of append-only tables be changed within a transaction: what somebody has a right to have forgotten."""
    if connection.dialect.name != "sqlite":
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER {table}_frozen")
        yield
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER {table}_frozen")
        return
    # Freed pages are overwritten, so that no forgotten text stays in the file.
    connection.exec_driver_sql("PRAGMA secure_delete=ON")
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN :tables")
    found = connection.execute(query.bindparams(sa.bindparam("tables", tables, expanding=True))).all()
    for name, _ in found:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    yield
    for _, statement in found:
        connection.exec_driver_sql(statement)


def insert(connection: Connection, table: sa.Table, **values: Any) -> int:
    """Add a row; returns its primary key."""
    key: Any = connection.execute(sa.insert(table).values(**values)).inserted_primary_key
    return key[0]


def log_event(connection: Connection, actor: str, kind: str, subject: object = "", **detail: Any) -> None:
    """Add to the log of what was done."""
    row = {"actor": actor[:200], "kind": kind, "subject": str(subject)[:200], "detail": detail}
    connection.execute(sa.insert(t.event).values(created=time.time(), **row))


def _prepare(connection: Any, _: Any) -> None:
    """Set up a connection to SQLite; SQLAlchemy's own BEGIN takes the place of the driver's."""
    connection.isolation_level = None
    is_safe = sqlite3.sqlite_version_info >= SAFE_WAL
    for pragma in (
        # Truncating the journal is as safe as deleting it and spares the directory a write.
        f"journal_mode={'WAL' if is_safe else 'TRUNCATE'}",
        f"synchronous={'FULL' if is_safe else 'EXTRA'}",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Begin a transaction that may write, as soon as no other process holds the database."""
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    until = time.monotonic() + BUSY_MS / 1000
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while time.monotonic() < until:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
            time.sleep(ASK_SECONDS)
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    # Its error is then one of SQLAlchemy's.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_remote(path: Path) -> None:
    """Refuse a file on a network file system, where SQLite's locks do not hold."""
    try:
        mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return
    around = [str(parent) for parent in path.resolve().parents]
    kinds = [(len(place), kind) for _, place, kind in mounts if place in around]
    kind = max(kinds, default=(0, ""))[1]
    if kind in REMOTE_FILES:
        raise ConfigError(f"{path} lies on {kind}, where SQLite loses data; use a local disk or PostgreSQL")


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
