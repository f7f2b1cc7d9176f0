"""Every kind of file gives the same rows; broken ones name file and row."""

import csv
import gzip
import json
import lzma
import tracemalloc

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard

from rewardsmith.errors import DataError
from rewardsmith.files import reading
from rewardsmith.files.reading import read_rows

ROWS = [{"prompt": f"q{i}", "chosen": f'good, "{i}"\n', "rejected": "schön"} for i in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def write(path, kind):
    if kind == "jsonl":
        path.write_bytes(LINES)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(LINES))
    elif kind == "jsonl.xz":
        path.write_bytes(lzma.compress(LINES))
    elif kind == "jsonl.zst":
        path.write_bytes(zstandard.compress(LINES[:40]) + zstandard.compress(LINES[40:]))
    elif kind == "json":
        path.write_text(json.dumps(ROWS, indent=1))
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as text:
            writer = csv.DictWriter(text, ROWS[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(ROWS)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "feather":
        pyarrow.feather.write_feather(pa.Table.from_pylist(ROWS), path)
    elif kind == "arrow":
        table = pa.Table.from_pylist(ROWS)
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)


@pytest.mark.parametrize(
    "kind", ["jsonl", "jsonl.gz", "jsonl.zst", "jsonl.xz", "json", "csv", "tsv", "parquet", "feather", "arrow"]
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    path = tmp_path / f"data.{kind}"
    write(path, kind)
    found = list(read_rows(path))
    assert [row for _, row in found] == ROWS
    assert found[2][0] == f"data.{kind}:row 3"


def test_json_files_hold_arrays_of_any_size_or_lines(tmp_path):
    large = [{"text": "x" * 200_000, "n": i} for i in range(4)]
    path = tmp_path / "a.json"
    for text in (json.dumps(large), "\ufeff" + json.dumps(large, indent=2), json.dumps({"data": large})):
        path.write_text(text, encoding="utf-8")
        assert [row for _, row in read_rows(path)] == large
    path.write_bytes(LINES)
    assert [row for _, row in read_rows(path)] == ROWS
    path.write_text(json.dumps(ROWS[0], indent=2))
    assert [row for _, row in read_rows(path)] == ROWS[:1]
    path.write_text(" [ ] ")
    assert list(read_rows(path)) == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl:row 2: broken JSON"),
        ("a.jsonl", b'{"a": 1}\n\n[1]\n', "a.jsonl:row 3: broken JSON"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:row 1: broken JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:row 1"),
        ("a.json", b'[{"a": 1}, {"a" 2}]', "a.json:row 2: broken JSON"),
        ("a.json", b'[{"a": 1}, {"a": "b', "a.json:row 2: broken JSON"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "expected ',' or ']'"),
        ("a.json", b'[{"a": 1}] x', "text follows"),
        ("a.json", b"[1, 2]", "a.json:row 1: a row must be an object"),
        ("a.json", b'["\xff"]', "not UTF-8"),
        ("a.json", b'[{"a": 1}, ', "a.json:row 2: broken JSON"),
        ("a.csv", b"a,b\n1,2\n3\n", "a.csv:row 2: 1 cells"),
        ("a.csv", b"a,a\n1,2\n", "names 'a' twice"),
        ("a.csv", b"a,b\n\xff,2\n", "cannot be read as csv"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "save the file as UTF-8"),
        ("a.parquet", b"PAR1 no parquet", "cannot be read as parquet"),
        ("a.arrow", b"no arrow", "cannot be read as arrow"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-12], "damaged"),
        ("a.jsonl.zst", b"no zstandard at all", "damaged"),
        ("a.jsonl.xz", lzma.compress(LINES)[:-12], "damaged"),
        ("a.json.xz", b"no xz at all", "cannot be read as json"),
        ("a.xlsx", b"", "unknown kind of file"),
    ],
)
def test_a_broken_file_gives_one_line_that_names_it(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name))
    assert expected in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_lines_are_handed_over_and_reading_goes_on(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\nbroken\n{"a": 3}\n')
    broken = []
    rows = list(read_rows(tmp_path / "a.jsonl", on_broken=broken.append))
    assert rows == [("a.jsonl:row 1", {"a": 1}), ("a.jsonl:row 3", {"a": 3})]
    assert [error.reason for error in broken] == ["broken JSON"]


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        list(read_rows(tmp_path / "nowhere.jsonl"))


def test_lists_and_messages_in_csv_cells_are_decoded(tmp_path):
    messages = [{"role": "user", "content": "hi"}]
    with (tmp_path / "a.csv").open("w", newline="") as text:
        csv.writer(text).writerows([["completions", "chosen", "rejected"], ['["a"]', json.dumps(messages), "[1]"]])
    ((_, row),) = read_rows(tmp_path / "a.csv")
    assert row == {"completions": ["a"], "chosen": messages, "rejected": "[1]"}


def test_folders_are_read_in_order_and_splits_are_asked_for(tmp_path):
    write(tmp_path / "part-1.jsonl", "jsonl")
    (tmp_path / "README.md").write_text("# rows")
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "part-2.csv", "csv")
    found = list(read_rows(tmp_path))
    assert [row for _, row in found] == ROWS * 2
    assert found[-1][0] == "sub/part-2.csv:row 5"
    write(tmp_path / "train-1.jsonl", "jsonl")
    write(tmp_path / "test-1.jsonl", "jsonl")
    with pytest.raises(DataError, match="test, train; name one"):
        list(read_rows(tmp_path))
    assert len(list(read_rows(tmp_path, split="test"))) == 5


def test_folders_saved_by_datasets_are_read(tmp_path):
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"train": data, "test": data.select([1, 3])}).save_to_disk(str(tmp_path / "two"))
    assert [row for _, row in read_rows(tmp_path / "one")] == ROWS
    assert [row for _, row in read_rows(tmp_path / "two", split="test")] == [ROWS[1], ROWS[3]]
    with pytest.raises(DataError, match="train, test; name one"):
        list(read_rows(tmp_path / "two"))


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, kind):
    def peak(count):
        path = tmp_path / f"{count}.{kind}"
        rows = [{"prompt": f"{i}" + "p" * 2000, "chosen": "c" * 2000, "rejected": "r" * 2000} for i in range(count)]
        if kind == "csv":
            with path.open("w", newline="") as text:
                writer = csv.DictWriter(text, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        else:
            path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
        del rows
        tracemalloc.start()
        for _ in read_rows(path):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(50)
    assert peak(2000) < 1.3 * peak(200)


def test_arrow_memory_does_not_grow_with_the_parquet_file(tmp_path):
    def peak(count):
        path = tmp_path / f"{count}.parquet"
        rows = [{"prompt": f"{i}" + "p" * 3000, "chosen": f"{i}" + "c" * 3000} for i in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100, use_dictionary=False)
        del rows
        before = pa.total_allocated_bytes()
        return max(pa.total_allocated_bytes() - before for _ in read_rows(path))

    assert peak(4000) < 1.5 * peak(400)


def test_a_key_that_stands_twice_is_named(tmp_path):
    (tmp_path / "twice.jsonl").write_text('{"a": 1}\n{"a": 1, "b": {"c": 1, "c": 2}}\n')
    with pytest.raises(DataError, match=r"twice.jsonl:row 2: broken JSON: the key 'c' stands twice"):
        list(read_rows(tmp_path / "twice.jsonl"))
    (tmp_path / "twice.json").write_text('[{"a": 1}, {"b": 1, "b": 2}]')
    with pytest.raises(DataError, match=r"twice.json:row 2: broken JSON: the key 'b' stands twice"):
        list(read_rows(tmp_path / "twice.json"))


def test_a_line_without_end_costs_its_row_and_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_ROW", 1000)
    (tmp_path / "long.jsonl").write_text('{"a": 1}\n{"a": "' + "x" * 200_000 + '"}\n{"a": 2}\n')
    broken = []
    assert [row for _, row in read_rows(tmp_path / "long.jsonl", on_broken=broken.append)] == [{"a": 1}, {"a": 2}]
    assert [(error.reason, "row 2" in str(error)) for error in broken] == [("too long", True)]
    (tmp_path / "long.json").write_text('[{"a": 1}, {"a": "' + "x" * 500_000 + '"}]')
    with pytest.raises(DataError, match=r"long\.json:row 2: the row is longer"):
        list(read_rows(tmp_path / "long.json"))


def test_blank_lines_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BLANK", 1000)
    (tmp_path / "some.jsonl").write_text("\n" * 900 + '{"a": 1}\n')
    assert [where for where, _ in read_rows(tmp_path / "some.jsonl")] == ["some.jsonl:row 901"]
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "bomb.jsonl.zst").write_bytes(zstandard.compress(b"\n" * 10_000_000))
    with pytest.raises(DataError, match="more than 1,000 blank lines"):
        list(read_rows(tmp_path / "bomb.jsonl.zst"))


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": ["p", "q"], "chosen": ["a", "b"], "margin": [1, 2]},
        {"prompt": {"0": "p", "1": "q"}, "chosen": {"0": "a", "1": "b"}, "margin": {"0": 1, "1": 2}},
    ],
)
def test_a_json_file_may_hold_columns(tmp_path, columns):
    path = tmp_path / "columns.json"
    path.write_text(json.dumps(columns))
    assert [row for _, row in read_rows(path)] == [
        {"prompt": "p", "chosen": "a", "margin": 1},
        {"prompt": "q", "chosen": "b", "margin": 2},
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"completions": ["a", "b"], "ranks": [1, 2]},
        {"chosen_ids": [1, 2], "rejected_ids": [1, 3]},
        {"chosen": [{"role": "user"}, {"role": "assistant"}], "rejected": [{"role": "user"}, {"role": "assistant"}]},
    ],
)
def test_one_row_of_lists_of_one_length_is_no_table(tmp_path, row):
    path = tmp_path / "row.json"
    path.write_text(json.dumps(row))
    assert [found for _, found in read_rows(path)] == [row]
