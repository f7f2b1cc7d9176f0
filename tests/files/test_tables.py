"""Data sets of the hub: one reading of names, one message for what cannot be had."""

import pytest

from rewardsmith.errors import DataError
from rewardsmith.files.reading import read_rows
from rewardsmith.files.tables import hub_files, is_hub_id, read_hub, spreadsheet_cells, write_rows


@pytest.mark.parametrize("name", ["owner/name", "owner/name/subset"])
def test_names_of_two_or_three_words_are_hub_ids(name):
    assert is_hub_id(name)


@pytest.mark.parametrize("name", ["name", "./owner/name", "/owner/name", "~/name", "folder/pairs.jsonl", "a/b.json.gz"])
def test_paths_are_no_hub_ids(name):
    assert not is_hub_id(name)


def test_a_name_that_is_neither_path_nor_hub_id_is_one_line():
    with pytest.raises(DataError, match="no such file or folder, and not a hub id"):
        next(read_hub("pairs.jsonl", None))
    with pytest.raises(DataError, match="no such file or folder, and not a hub id"):
        hub_files("pairs.jsonl", None)


def test_splits_of_a_downloaded_set_are_asked_for(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    halves = {}
    for split in ("train", "test"):
        datasets.Dataset.from_list([{"text": split}]).save_to_disk(tmp_path / split)
        halves[split] = datasets.load_from_disk(str(tmp_path / split))
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.DatasetDict(halves))
    with pytest.raises(DataError, match="holds the splits train, test; name one"):
        hub_files("owner/name", None)
    with pytest.raises(DataError, match="no split 'dev'"):
        hub_files("owner/name", "dev")
    assert [path.parent.name for path in hub_files("owner/name", "test")] == ["test"]


@pytest.mark.parametrize("row", [{"a\ud800": "x"}, {"a": "x\ud800"}])
def test_half_a_character_in_a_table_is_one_line_and_leaves_no_file(tmp_path, row):
    with pytest.raises(DataError, match="lone surrogate"):
        write_rows(tmp_path / "out.csv", lambda: iter([row]))
    assert list(tmp_path.iterdir()) == []


def test_semicolons_of_a_european_spreadsheet_are_separators(tmp_path):
    (tmp_path / "rows.csv").write_text("\ufeffprompt;chosen;rejected\nStraße?;ja, gern;nein\n", encoding="utf-8")
    assert [row for _, row in read_rows(tmp_path / "rows.csv")] == [
        {"prompt": "Straße?", "chosen": "ja, gern", "rejected": "nein"}
    ]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_no_cell_is_a_formula_for_spreadsheets_where_that_is_asked_for(tmp_path, suffix):
    row = {"@name": "=HYPERLINK(1)", "b": "+1", "c": "-x", "d": "a=b", "reward": -1.5, "e": "@me", "f": None}
    path = tmp_path / f"out.{suffix}"
    with spreadsheet_cells():
        write_rows(path, lambda: iter([row]))
    mark = "," if suffix == "csv" else "\t"
    head, cells = path.read_text().splitlines()
    assert head.split(mark) == ["'@name", "b", "c", "d", "reward", "e", "f"]
    assert cells.split(mark) == ["'=HYPERLINK(1)", "'+1", "'-x", "a=b", "-1.5", "'@me", ""]
    write_rows(path, lambda: iter([row]))
    assert path.read_text().splitlines()[1].split(mark)[:3] == ["=HYPERLINK(1)", "+1", "-x"]
