"""One function loads whatever people have, and counts what it leaves out."""

import json

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from rewardsmith import load_preferences
from rewardsmith.data import iter_preferences
from rewardsmith.data.loading import LoadReport
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison

ROWS = [
    {"prompt": "p", "chosen": "a", "rejected": "b"},
    {"prompt": "q", "chosen": "x", "rejected": "y"},
    {"prompt": "p", "chosen": "c", "rejected": "a"},
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_rows_of_one_prompt_are_merged_and_counted(path):
    data = load_preferences(path)
    assert [len(group) for group in data] == [3, 2]
    assert data[0].source == "mine"
    assert (data.report.rows, data.report.groups, data.report.comparisons) == (3, 2, 3)
    assert not data.report.dropped


def test_lists_datasets_and_paths_give_the_same_groups(path):
    wanted = [(g.prompt, g.completions, g.comparisons) for g in load_preferences(path)]
    for source in (ROWS, Dataset.from_list(ROWS), str(path), [path], iter(ROWS)):
        assert [(g.prompt, g.completions, g.comparisons) for g in load_preferences(source)] == wanted


def test_without_merging_groups_follow_the_rows(path):
    data = load_preferences(path, merge_prompts=False)
    assert [group.prompt for group in data] == ["p", "q", "p"]
    assert [group.completions for group in iter_preferences(path)] == [group.completions for group in data]
    assert len(load_preferences(path, limit=1)) == 1
    assert len(data[1:]) == 2


def test_a_bad_row_raises_with_file_and_row_or_is_counted_by_reason(path):
    with path.open("a") as text:
        text.write('{"prompt": "p", "chosen": null, "rejected": "b"}\nbroken\n{"prompt": "p", "chosen": "a"}\n')
        text.write('{"prompt": "z", "chosen": "m", "rejected": "n"}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl:row 4: column 'chosen' is null"):
        load_preferences(path)
    report = load_preferences(path, on_error="count").report
    assert report.rows == 7
    assert report.dropped == {"null value": 1, "broken JSON": 1, "unknown columns": 1}
    assert "mine.jsonl:row 5" in report.examples["broken JSON"]
    assert report.comparisons + report.dropped.total() == report.rows
    assert "dropped 3" in str(report)


def test_the_lazy_form_fills_the_report_it_is_given(path):
    report = LoadReport()
    groups = iter_preferences(path, report=report)
    next(groups)
    assert report.rows == 1
    assert len(list(groups)) == 2
    assert (report.rows, report.groups) == (3, 3)


def test_groups_pass_through():
    groups = list(load_preferences(ROWS))
    again = load_preferences(groups)
    assert list(again) == groups
    assert again[0].comparisons == (Comparison(0, 1), Comparison(2, 0))


def test_a_format_can_be_named(path):
    with pytest.raises(DataError, match="ranks"):
        load_preferences([{"prompt": "p", "completions": ["a", "b"]}], reader="ranking")
    with pytest.raises(ConfigError, match="on_error"):
        load_preferences(path, on_error="skip")


def test_what_is_no_path_and_no_hub_id_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_preferences(str(tmp_path / "none.jsonl"))
    for text in ("x" * 5000, "a\x00b", ""):
        with pytest.raises(DataError, match=r"no such file|unknown kind|holds no file|holds the splits"):
            load_preferences(text)
    with pytest.raises(DataError, match="train"):
        load_preferences({"train": ROWS})
    with pytest.raises(DataError, match="cannot read preferences from int"):
        load_preferences(3)


def test_an_argument_that_is_not_known_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match="'readers'; did you mean 'reader'"):
        load_preferences([{"prompt": "q", "chosen": "a", "rejected": "b"}], readers="trl")


def said(role, content):
    return {"role": role, "content": content}


def test_frames_and_tables_made_of_parquet_give_the_rows_of_json_lines(tmp_path):
    tools = [{"type": "function", "function": {"name": "f", "enum": ["a", "b"]}}]
    row = {
        "prompt": [said("user", "p")],
        "chosen": [said("assistant", "a")],
        "rejected": [said("assistant", "b")],
        "tools": tools,
    }
    several = {"prompt": "p", "chosen": "a", "rejected": ["b", "c"]}
    for rows in ([row], [several]):
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, tmp_path / "r.parquet")
        expected = load_preferences(rows).groups
        assert load_preferences(pandas.read_parquet(tmp_path / "r.parquet")).groups == expected
        assert load_preferences(table).groups == expected
