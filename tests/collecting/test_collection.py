"""A project that is made, opened and closed from Python."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rewardsmith.collecting import create, export_groups, open_collection
from rewardsmith.collecting.collection import SECRET_VARIABLE
from rewardsmith.errors import ConfigError, DataError


def test_a_project_from_nothing_to_an_export(tmp_path):
    rows = [{"prompt": "q", "completions": ["a", "b"]}, {"prompt": "q", "completions": ["a", "b"]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    collection = create(tmp_path / "new" / "p.yaml", task="ranking", overlap=2)
    report = collection.add([tmp_path / "rows.jsonl"])
    assert (report.items, dict(report.dropped)) == (1, {"already there": 1})
    assert export_groups(collection.store, collection.project) == []
    collection.close()
    again = open_collection(tmp_path / "new" / "p.yaml")
    assert (again.project.overlap, again.settings_id) == (2, collection.settings_id)
    again.close()


def test_a_file_that_was_changed_is_a_new_row_of_settings(tmp_path):
    collection = create(tmp_path / "p.yaml")
    collection.close()
    (tmp_path / "p.yaml").write_text("question: x\noverlap: 5\n")
    again = open_collection(tmp_path / "p.yaml")
    assert again.settings_id == collection.settings_id + 1
    again.close()


def test_rows_that_cannot_be_read_are_counted_by_reason_where_asked(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n{"prompt": "q2", "chosen": 5, "rejected": "b"}\n')
    collection = create(tmp_path / "p.yaml")
    with pytest.raises(DataError, match="row 2"):
        collection.add([path])
    report = collection.add([path], skip_bad=True)
    assert (report.items, report.judgements, sum(report.dropped.values())) == (1, 1, 1)
    with pytest.raises(ConfigError, match="real, gold or practice"):
        collection.add([path], "other")
    collection.close()


def test_the_secret_is_of_the_environment_or_of_a_file_that_only_its_owner_reads(tmp_path, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    collection = create(tmp_path / "p.yaml")
    assert len(collection.secret()) >= 32
    assert collection.secret() == collection.secret()
    assert (tmp_path / "p.secret").stat().st_mode & 0o077 == 0
    monkeypatch.setenv(SECRET_VARIABLE, "short")
    with pytest.raises(ConfigError, match="5 characters"):
        collection.secret()
    monkeypatch.setenv(SECRET_VARIABLE, "s" * 32)
    assert collection.secret() == "s" * 32
    collection.close()


def test_a_link_for_an_owner_is_new_each_time_and_of_the_next_owner_once_one_is_in(make):
    from rewardsmith.collecting.people import accept, find_invitation

    collection = make()
    first, second = (collection.owner_link("http://x").removeprefix("http://x/invite/") for _ in range(2))
    assert find_invitation(collection.store, first) is None
    accept(collection.store, second, "correct horse battery")
    third = collection.owner_link("http://x").removeprefix("http://x/invite/")
    assert find_invitation(collection.store, third) == ("owner 2", "owner")


def test_a_project_whose_database_is_gone_says_how_to_make_it(tmp_path):
    collection = create(tmp_path / "p.yaml")
    collection.close()
    (tmp_path / "p.db").unlink()
    with pytest.raises(DataError, match="collect init"):
        open_collection(tmp_path / "p.yaml")


def test_two_projects_never_share_one_database(tmp_path):
    first = create(tmp_path / "a.yaml", database="one.db")
    first.close()
    with pytest.raises(ConfigError, match="a project needs one of its own"):
        create(tmp_path / "b.yaml", database="one.db")
    assert not (tmp_path / "b.yaml").exists()
    create(tmp_path / "a.yaml").close()
    (tmp_path / "a.yaml").rename(tmp_path / "moved.yaml")
    create(tmp_path / "moved.yaml").close()


def test_servers_that_start_at_once_read_one_secret(make):
    collection = make()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: collection.secret(), range(8)))
    assert len(found) == 1
    assert len(found.pop()) > 32
    assert [file.name for file in collection.path.parent.glob(".*secret*")] == []
