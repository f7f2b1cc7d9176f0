"""What the tests of collecting share: a project on SQLite."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from collecting_people import groups
from collecting_postgres import Cluster, binaries

from rewardsmith.collecting import Collection, create
from rewardsmith.collecting.items import add_items

Make = Callable[..., Collection]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes a project: settings by name, and how many items with how many answers."""
    opened: list[Collection] = []

    def build(items: int = 0, answers: int = 2, **settings: object) -> Collection:
        path = tmp_path / f"project{len(opened)}.yaml"
        path.write_text(yaml.safe_dump({"question": "Which is better?", **settings}))
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
