"""A project that is open: its settings, its database and its secret. The same actions as on the command line."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from rewardsmith.collecting import items, people
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.project import Project, database_url, load_project, project_template
from rewardsmith.collecting.reading import read_items
from rewardsmith.collecting.store import Store, log_event, open_store, record_settings
from rewardsmith.errors import ConfigError

SECRET_VARIABLE = "REWARDSMITH_COLLECT_SECRET"
SHORTEST_SECRET = 32


@dataclass(frozen=True, slots=True)
class Collection:
    """One open project.

    Example:
        >>> from rewardsmith.collecting import create, export_groups  # doctest: +SKIP
        >>> collection = create("project.yaml")  # doctest: +SKIP
        >>> collection.add(["answers.jsonl"])  # doctest: +SKIP
        >>> groups = export_groups(collection.store, collection.project)  # doctest: +SKIP
    """

    path: Path
    project: Project
    store: Store
    settings_id: int

    def add(
        self, paths: list[str | Path], kind: str = "real", reader: str | None = None, skip_bad: bool = False
    ) -> items.ImportReport:
        """Import files; see `rewardsmith collect import`."""
        checked, dropped = items.check_kind(kind), Counter[str]()
        groups = read_items(paths, reader, dropped, skip_bad)
        report = items.add_items(self.store, self.project, groups, checked)
        report.dropped.update(dropped)
        return report

    def secret(self) -> str:
        """Return the secret that signs cookies and links: of the environment, or of a file made beside the project."""
        given = os.environ.get(SECRET_VARIABLE)
        if given is not None:
            if len(given) < SHORTEST_SECRET:
                raise ConfigError(f"${SECRET_VARIABLE} has {len(given)} characters; give {SHORTEST_SECRET} or more")
            return given
        file = self.path.with_suffix(".secret")
        if not file.exists():
            # Written whole, then named: of two servers that start at once one wins, and both read the same.
            mine = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_urlsafe(48))
            with contextlib.suppress(FileExistsError):
                os.link(mine, file)
            mine.unlink()
        return file.read_text(encoding="ascii").strip()

    def owner_link(self, base: str) -> str:
        """Return a link that works once and lets an owner in who has not set a password."""
        for number in range(1, 1000):
            name = "owner" if number == 1 else f"owner {number}"
            try:
                return f"{base}/invite/{people.invite(self.store, 'command line', name, 'owner')}"
            except ConfigError:
                continue
        raise ConfigError("there are 999 owners; see: rewardsmith collect annotators list")

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()


def create(path: str | Path, **values: object) -> Collection:
    """Make a project: its file, when there is none yet, and its database. Values go into the new file."""
    place = Path(path)
    is_mine = not place.exists()
    if is_mine:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(project_template(**values), encoding="utf-8")  # type: ignore[arg-type]
    try:
        return _open(place, is_new=True)
    except BaseException:
        if is_mine:
            place.unlink()
        raise


def _claim(connection: Connection, path: Path) -> None:
    """Note whose database this is. Raises ConfigError where another project's file made it."""
    event, place = t.event.c, str(path.resolve())
    query = sa.select(event.detail).where(event.kind == "init")
    places = {detail.get("place") for detail in connection.execute(query).scalars()} - {None}
    others = [other for other in places if other != place and Path(other).exists()]
    if others and place not in places:
        raise ConfigError(
            f"the database of {path} holds the project {sorted(others)[0]}; a project needs one of its own: name "
            "another under 'database'"
        )
    log_event(connection, "command line", "init", path.name, place=place)


def open_collection(path: str | Path) -> Collection:
    """Open a project that `create` made. Raises DataError where its database is absent or of another version."""
    return _open(Path(path), is_new=False)


def _open(path: Path, is_new: bool) -> Collection:
    project = load_project(path)
    store = open_store(database_url(project, path), create=is_new)
    with store.transaction() as connection:
        if is_new:
            _claim(connection, path)
        settings_id = record_settings(connection, project)
    return Collection(path, project, store, settings_id)
