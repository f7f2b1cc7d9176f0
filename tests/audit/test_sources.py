import json

import pytest

from rewardsmith.audit.sources import Reading, draw_groups, load_data, parse_data
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import PreferenceGroup

OPTIONS = {"split": None, "limit": None, "on_error": "raise"}
PLAIN = Reading(options=OPTIONS)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": "good", "rejected": "bad"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.jsonl", ("b", "a/b.jsonl", None)),
        ("b.jsonl.gz", ("b", "b.jsonl.gz", None)),
        ("x=b.jsonl", ("x", "b.jsonl", None)),
        ("x=b.jsonl:hh-rlhf", ("x", "b.jsonl", "hh-rlhf")),
        ("b.json:webgpt:stripped", ("b", "b.json", "webgpt:stripped")),
        ("org/set", ("set", "org/set", None)),
        ("data/k=v/b.jsonl", ("b", "data/k=v/b.jsonl", None)),
    ],
)
def test_name_path_and_reader_are_told_apart(text, expected):
    assert parse_data(text) == expected


def test_a_file_that_exists_as_it_is_written_is_not_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b:c.jsonl").write_text("")
    assert parse_data("a=b:c.jsonl") == ("a=b:c", "a=b:c.jsonl", None)


def test_each_of_several_sets_is_a_source_of_its_own(file, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(file.read_text())
    data = load_data([f"first={file}", str(other)], PLAIN)
    assert data.names == ["first", "other"]
    assert {group.source for group in data.groups} == {"first", "other"}
    assert data.name == "first, other"


def test_dropped_rows_are_counted_by_reason_and_set(file):
    file.write_text(file.read_text() + '{"prompt": "p", "chosen": 5, "rejected": "x"}\n')
    with pytest.raises(DataError):
        load_data([str(file)], PLAIN)
    data = load_data([str(file)], Reading(options={**OPTIONS, "on_error": "count"}))
    assert (len(data.groups), sum(data.dropped.values())) == (4, 1)
    assert data.notes[0].startswith("pairs: dropped 1 rows")


def test_drawn_groups_keep_their_order_and_depend_on_the_seed():
    groups = [PreferenceGroup(f"p{i}", ("a",)) for i in range(50)]
    drawn = draw_groups(groups, 10, 0)
    assert drawn == draw_groups(groups, 10, 0)
    assert drawn != draw_groups(groups, 10, 1)
    assert [groups.index(group) for group in drawn] == sorted(groups.index(group) for group in drawn)
    assert draw_groups(groups, 99, 0) is groups


def test_two_sets_of_one_name_are_an_error(file):
    with pytest.raises(ConfigError, match="named 'pairs'"):
        load_data([str(file), str(file)], PLAIN)


def test_a_benchmark_is_read_in_its_published_layout(tmp_path):
    path = tmp_path / "rm-bench.json"
    row = {"id": 1, "domain": "chat", "prompt": "p", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}
    path.write_text(json.dumps([row]))
    data = load_data([f"{path}:rm-bench"], PLAIN)
    assert data.name == "rm-bench"
    assert len(data.groups) >= 1
