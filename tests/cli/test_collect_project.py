"""The small commands of a project: `rewardsmith collect init|annotators|panel|backup|restore|upgrade`."""

import json
import re

import pytest

from rewardsmith.cli.main import main


def test_flags_of_a_new_project_are_refused_for_one_that_exists(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "init", "p.yaml", "--task", "ranking"]) == 0
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "init", "p.yaml", "--task", "pair", "--overlap", "2"]) == 1
    assert "p.yaml exists, and --task and --overlap would change nothing" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """A project with one judged item, in the folder where the commands run."""
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "annotator": "x\x1b[31m"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "import", "rows.jsonl"]) == 0
    capsys.readouterr()
    return tmp_path


def test_links_carry_the_public_address(folder, capsys):
    with (folder / "p.yaml").open("a") as file:
        file.write("panels: [{name: pilot, code: DONE}]\n")
    assert main(["collect", "annotators", "add", "ann", "--public-url", "https://label.example.org/"]) == 0
    assert re.fullmatch(r"ann: https://label\.example\.org/invite/[\w-]{32}\n", capsys.readouterr().out)
    assert main(["collect", "panel", "link", "pilot", "--public-url", "https://label.example.org"]) == 0
    assert capsys.readouterr().out.startswith("https://label.example.org/panel/")
    assert main(["collect", "annotators", "add", "bob", "--public-url", "label.example.org"]) == 1
    assert "--public-url takes an address" in capsys.readouterr().err


def test_names_from_files_do_nothing_to_the_terminal(folder, capsys):
    assert main(["collect", "annotators", "list"]) == 0
    text = capsys.readouterr().out
    assert "imported:x" in text
    assert "\x1b" not in text


def test_a_copy_goes_back_and_what_was_there_is_kept(folder, capsys):
    assert main(["collect", "backup", "copy.db"]) == 0
    assert "rewardsmith collect restore copy.db" in capsys.readouterr().out
    (folder / "p.db").unlink()
    assert main(["collect", "restore", "copy.db"]) == 0
    assert main(["collect", "restore", "copy.db"]) == 0
    assert "what was there before is in" in capsys.readouterr().out
    assert len(list(folder.glob("p.db.*.bak"))) == 1
    assert main(["collect", "agreement", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judgements"] == 1


@pytest.mark.parametrize("command", [["status"], ["upgrade"], ["export", "out.jsonl"], ["backup", "copy.db"]])
@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_one_line(folder, capsys, command, content):
    (folder / "p.db").write_bytes(content)
    code = main(["collect", *command])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (1, 1) or (command == ["upgrade"] and content == b"" and code == 0)
    assert "Traceback" not in error


def test_a_server_that_does_not_answer_is_one_line(folder, capsys):
    (folder / "p.yaml").write_text("question: x\ndatabase: postgresql://nobody:secret@127.0.0.1:1/none\n")
    assert main(["collect", "status"]) == 1
    error = capsys.readouterr().err
    assert "the database failed" in error
    assert "secret" not in error
    assert error.count("\n") == 1


def test_an_upgrade_that_cannot_copy_first_changes_nothing(folder, capsys, monkeypatch):
    from rewardsmith.collecting.store import Store
    from rewardsmith.errors import DataError

    def full(store, target):
        raise DataError(f"{target} could not be written: database or disk is full")

    monkeypatch.setattr(Store, "backup", full)
    before = (folder / "p.db").read_bytes()
    assert main(["collect", "upgrade"]) == 1
    assert "disk is full" in capsys.readouterr().err
    assert (folder / "p.db").read_bytes() == before
