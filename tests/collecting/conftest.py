"""What the tests of collecting share: a project on SQLite."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from argon2 import PasswordHasher
from collecting_people import groups
from collecting_postgres import Cluster, binaries

from rewardsmith.collecting import Collection, create, people
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.store import Store

Make = Callable[..., Collection]


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with argon2id as it is, but for a moment only."""
    monkeypatch.setattr(people, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty SQLite database of this version, so that not every test runs every migration."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    store = Store(f"sqlite:///{path}")
    store.upgrade()
    store.close()
    return path.read_bytes()


@pytest.fixture
def make(tmp_path: Path, migrated: bytes) -> Iterator[Make]:
    """Yield a function that makes a project: settings by name, and how many items with how many answers."""
    opened: list[Collection] = []

    def build(items: int = 0, answers: int = 2, **settings: object) -> Collection:
        path = tmp_path / f"project{len(opened)}.yaml"
        path.write_text(yaml.safe_dump({"question": "Which is better?", **settings}))
        if settings.get("database") is None:
            path.with_suffix(".db").write_bytes(migrated)
            path.with_suffix(".db").chmod(0o600)
        collection = create(path)
        opened.append(collection)
        add_items(collection.store, collection.project, groups(items, answers))
        return collection

    yield build
    for collection in opened:
        collection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A temporary PostgreSQL cluster; the test is skipped, with the reason, where PostgreSQL is absent."""
    if binaries() is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    cluster = Cluster(is_durable=False)
    yield cluster
    cluster.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """The setting `database` of a project on either engine."""
    if request.param == "sqlite":
        return None
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.url(f"db{uuid.uuid4().hex[:12]}")
