"""Where the rows of a published set lie: files of a copy by their names and columns, or nothing."""

import json

import pytest

from rewardsmith.data.opening import entry_files, open_rows, read
from rewardsmith.data.sets import find
from rewardsmith.errors import ConfigError

ROW = {"#id": "1", "label": "a1", "a1": "because", "a2": "no"}


def test_a_source_that_is_not_there_is_told_where_to_get_the_set(tmp_path):
    entry, _ = find("ukp-convarg1")
    with pytest.raises(ConfigError, match=r"found no file at .*nowhere; get the data set from https://"):
        open_rows(entry, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="give the folder of the data set"):
        entry_files(entry, tmp_path)


def test_files_of_a_folder_are_chosen_by_name_and_by_their_first_row(tmp_path):
    entry, _ = find("summeval")
    for name, row in (("one.jsonl", {"source": "s", "summaries": []}), ("two.jsonl", {"other": 1})):
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    notes = []
    assert [where for where, _ in open_rows(entry, tmp_path, notes=notes)] == ["one.jsonl:row 1"]
    assert notes == ["1 file of another layout is not read: two.jsonl"]


def test_groups_are_named_by_their_set(tmp_path):
    (tmp_path / "pairs.csv").write_text("\t".join(ROW) + "\n" + "\t".join(ROW.values()) + "\n")
    (group,) = read("ukp-convarg1", tmp_path)
    assert (group.source, group.completions, group.comparisons[0].better) == ("ukp-convarg1", ("because", "no"), 0)
