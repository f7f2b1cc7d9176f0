"""Mixtures: entries are checked, and each part is chosen by hash, not by its place in the file."""

import json

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments, load_training_data, read_sources


def test_a_mixture_caps_its_parts_by_fraction(pairs_file):
    entry = {"path": str(pairs_file), "fraction": 1.0}
    other = {"path": str(pairs_file), "fraction": 3.0}
    data = load_training_data(
        ScriptArguments(), DatasetMixtureConfig(datasets=[entry, other], test_split_size=0.0), merge=False
    )
    # 40 rows at 3/4 allow a mixture of 53, of which a quarter is 13.
    assert len(data.train) == 40 + 13


def test_a_mixture_takes_files_folders_columns_and_splits(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, count in (("folder/train", 3), ("folder/test", 2), ("one", 4), ("two", 5)):
        rows = [{"prompt": f"{name} {i}", "chosen": "a", "rejected": "b", "scores": [1]} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ["prompt", "chosen", "rejected"]
    entries = [
        {"path": str(tmp_path / "folder"), "split": "test", "columns": columns},
        {"path": "json", "data_dir": str(tmp_path), "data_files": ["one.jsonl", "tw*.jsonl"], "columns": columns},
    ]
    mixture = DatasetMixtureConfig(datasets=entries, test_split_size=0)
    data = load_training_data(ScriptArguments(), mixture, merge=True)
    assert sorted({str(group.prompt).split()[0] for group in data.train}) == ["folder/test", "one", "two"]
    assert len(data.train) == 2 + 4 + 5


def test_a_part_is_chosen_by_hash_and_grows_with_its_fraction(pairs_file):
    def chosen(fraction):
        entries = [{"path": str(pairs_file), "fraction": fraction}, {"path": str(pairs_file), "fraction": 1.0}]
        mixture = DatasetMixtureConfig(datasets=entries, test_split_size=0)
        return [group.prompt for group in load_training_data(ScriptArguments(), mixture, merge=False).train[:-40]]

    small, large = chosen(0.25), chosen(0.5)
    assert (len(small), len(large)) == (10, 20)
    assert set(small) < set(large)
    assert small != [json.loads(line)["prompt"] for line in pairs_file.read_text().splitlines()[:10]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "x", "splitt": "train"}, "unknown key 'splitt'; did you mean 'split'"),
        ({"split": "train"}, "has no 'path'"),
        ({"path": ""}, "'path' cannot be str ''"),
        ({"path": "x", "fraction": 0}, "'fraction' cannot be int 0"),
        ({"path": "x", "fraction": "half"}, "'fraction' cannot be str 'half'"),
        ({"path": "x", "columns": "prompt"}, "'columns' cannot be str 'prompt'"),
        (3, "must be a mapping with the keys path"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(entry, message):
    with pytest.raises(ConfigError, match=message):
        read_sources(["fine.jsonl", entry])


def test_fractions_are_for_all_or_for_none():
    with pytest.raises(ConfigError, match="for every data set or for none"):
        read_sources(["a.jsonl", {"path": "b.jsonl", "fraction": 0.5}])
