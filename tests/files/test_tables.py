"""Data sets of the hub: one reading of names, one message for what cannot be had."""

import shutil
from pathlib import Path

import datasets
import pytest

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.reading import read_rows
from rewardsmith.files.tables import (
    at_revision,
    hub_files,
    in_subset,
    is_hub_id,
    read_hub,
    split_revision,
    spreadsheet_cells,
    write_rows,
)


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


@pytest.mark.parametrize(
    ("name", "place", "revision"),
    [
        ("owner/name@v2", "owner/name", "v2"),
        ("owner/name/subset@refs/pr/1", "owner/name/subset", "refs/pr/1"),
        ("gpt2@main", "gpt2", "main"),
        ("owner/name", "owner/name", None),
        ("owner/name@", "owner/name@", None),
        ("./a@b", "./a@b", None),
        ("me@host/rows.jsonl", "me@host/rows.jsonl", None),
    ],
)
def test_a_revision_stands_behind_the_place(name, place, revision):
    assert split_revision(name) == (place, revision)


def test_a_folder_of_such_a_name_is_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data@v2").mkdir()
    assert split_revision("data@v2") == ("data@v2", None)
    assert [at_revision(name, "v1") for name in ("me/data", "me/data@v2")] == ["me/data@v1", "me/data@v2"]
    with pytest.raises(ConfigError, match="data@v2 is no hub id, so it has no revision 'v1'"):
        at_revision("data@v2", "v1")


def test_a_configuration_stands_before_the_revision():
    assert in_subset("owner/name@v2", "small") == "owner/name/small@v2"
    assert (in_subset("owner/name", "small"), in_subset("owner/name@v2", None)) == ("owner/name/small", "owner/name@v2")


@pytest.mark.parametrize("name", ["owner/name@v2", "owner/name/small@v2", "owner/name/folder@v2"])
def test_rows_are_asked_for_at_the_revision(name, monkeypatch):
    asked = []

    def load(*place, **options):
        asked.append((place, options))
        return [{"prompt": "q"}]

    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda repo, revision: {"v2": ["small"]}[revision])
    assert list(read_hub(name, None)) == [(f"{name}:row 0", {"prompt": "q"})]
    [(place, options)] = asked
    assert place[0] == "owner/name"
    assert options["revision"] == "v2"


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


def test_a_configuration_that_is_cached_is_read_while_the_hub_is_out_of_reach(monkeypatch, tmp_path):
    """As on the nodes of a cluster: the cache names no configurations, and a folder of that name was not loaded."""
    folder, names = tmp_path / "name", ("easy", "hard")
    folder.mkdir()
    for name in names:
        (folder / f"{name}.jsonl").write_text(f'{{"chosen": "{name}", "rejected": "b"}}\n')
    listed = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in names)
    (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n")
    for name in names:
        found = datasets.load_dataset(str(folder), name, cache_dir=str(tmp_path / "first"))
        kept = tmp_path / "cache" / "owner___name" / name / "0.0.0" / "0123456789abcdef"
        shutil.copytree(Path(found["train"].cache_files[0]["filename"]).parent, kept)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for name in ("easy", "hard"):
        assert [row["chosen"] for _, row in read_hub(f"owner/name/{name}", None)] == [name]
    with pytest.raises(DataError, match=r"owner/name/other: .*Couldn't find cache"):
        next(read_hub("owner/name/other", None))
