"""`rewardsmith collect demo`: a project at once, and its judgements after Ctrl-C."""

import pytest
from collecting_people import annotator, answer

from rewardsmith.cli.main import main
from rewardsmith.collecting.app import run
from rewardsmith.data.loading import load_preferences


@pytest.fixture
def person(monkeypatch):
    """Somebody who judges three items and then presses Ctrl-C, in place of the server."""
    seen = []

    def judge(collection, address):
        seen.append((collection.project, address))
        who = annotator(collection, f"ann {len(seen)}")
        for _ in range(3):
            assert answer(collection, who) is not None
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "serve", judge)
    return seen


@pytest.mark.parametrize("task", ["pair", "ranking", "best"])
def test_what_was_judged_is_there_after_ctrl_c(tmp_path, capsys, person, task, monkeypatch):
    if task == "best":
        import collecting_people

        monkeypatch.setattr(collecting_people, "submit", _best(collecting_people.submit))
    folder = tmp_path / "demo"
    assert main(["collect", "demo", "--folder", str(folder), "--items", "4", "--task", task, "--port", "8123"]) == 0
    printed = capsys.readouterr()
    assert "http://127.0.0.1:8123/invite/" in printed.err
    assert "3 preference groups" in printed.out
    assert "rewardsmith train" in printed.out
    groups = load_preferences(folder / "judgements.jsonl")
    assert len(groups) == 3
    assert all(group.comparisons for group in groups)
    assert person[0][0].main_question.task == task


def _best(submit):
    def best(store, settings, project, who, sent):
        from dataclasses import replace

        return submit(store, settings, project, who, replace(sent, answer={"answers": {"overall": {"best": 0}}}))

    return best


def test_a_second_start_goes_on_where_the_first_ended(tmp_path, capsys, person):
    for _ in range(2):
        assert main(["collect", "demo", "--folder", str(tmp_path), "--items", "8"]) == 0
    assert "6 preference groups" in capsys.readouterr().out


def test_a_demo_without_items_is_refused(tmp_path, capsys):
    assert main(["collect", "demo", "--folder", str(tmp_path / "x"), "--items", "0"]) == 1
    assert "--items must be 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
