"""Output appears whole or not at all, and reads back as it was."""

import contextlib
import errno
import json
import tempfile
from datetime import date

import pytest

from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError
from rewardsmith.files.reading import read_rows
from rewardsmith.files.writing import (
    check_free,
    open_rows,
    replace_when_done,
    require_output,
    require_writable,
    write_json,
    write_text,
)
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

GROUPS = [
    PreferenceGroup("p", ("ä", "b"), (Comparison(0, 1, margin=0.5, annotator="x"),), source="s", metadata={"n": 1}),
    PreferenceGroup((Message("user", "q"),), ((Message("assistant", "a", {"name": "n"}),),), (Comparison(0, 0),)),
    PreferenceGroup("", (TokenIds([1]), TokenIds([2])), (Comparison(1, 0, "tie", weight=2.0, probability=0.5),)),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet"])
def test_groups_read_back_without_loss(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    with open_groups(path) as write:
        for group in GROUPS * 300:
            write(group)
    found = list(load_preferences(path, merge_prompts=False))
    assert found[0] == GROUPS[0]
    for got, wanted in zip(found, GROUPS * 300, strict=True):
        assert (got.prompt, got.completions, got.comparisons) == (wanted.prompt, wanted.completions, wanted.comparisons)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet"])
def test_an_interruption_leaves_the_old_file_and_no_other(tmp_path, suffix):
    path = tmp_path / f"old{suffix}"
    path.write_bytes(b"old")

    def interrupted():
        with open_groups(path) as write:
            write(GROUPS[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_that_json_cannot_hold_as_they_are_stay_readable(tmp_path):
    with open_rows(tmp_path / "a.jsonl") as write:
        write({"half": "\ud83d", "nan": float("nan"), "set": [1.5, None]})
    ((_, row),) = read_rows(tmp_path / "a.jsonl")
    assert row == {"half": "\ud83d", "nan": None, "set": [1.5, None]}
    with open_rows(tmp_path / "none.json"):
        pass
    assert list(read_rows(tmp_path / "none.json")) == []
    with pytest.raises(ConfigError, match="change the suffix"), open_rows(tmp_path / "a.xlsx"):
        pass


def test_json_and_text_that_utf8_cannot_hold_are_written_escaped_and_whole(tmp_path):
    write_json(tmp_path / "half.json", {"text": "a\ud83d", "when": date(2024, 5, 1)})
    assert json.loads((tmp_path / "half.json").read_text()) == {"text": "a\ud83d", "when": "2024-05-01"}
    write_text(tmp_path / "page.html", "half \ud83d")
    assert (tmp_path / "page.html").read_text() == "half \\ud83d"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["half.json", "page.html"]


@pytest.mark.parametrize("synced", [True, False])
def test_a_name_of_the_longest_length_is_replaced_when_done(tmp_path, synced):
    path = tmp_path / ("x" * 250 + ".json")
    path.write_text("old")
    with contextlib.suppress(RuntimeError), replace_when_done(path, synced) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with replace_when_done(path, synced) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_is_tried_and_not_asked_whether_it_may_be_written(tmp_path, monkeypatch):
    require_output(tmp_path / "new" / "deep" / "out.jsonl")
    assert list(tmp_path.iterdir()) == []

    def full(**arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    for refuse in (require_output, require_writable, lambda path: check_free(path, overwrite=True)):
        with pytest.raises(ConfigError, match=r"out.* cannot be written: no space left on device in .*; name another"):
            refuse(tmp_path / "out")
