"""A run leaves a record of its settings, result and versions."""

import json

from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.training.record import RunSummary, Speed, git_commit, versions, write_record


def test_the_record_holds_settings_result_and_versions(tmp_path):
    result = evaluate_held_out([PreferenceGroup("q", ("a", "b"), (Comparison(0, 1),))], [[1.0, 0.0]])
    settings = {"reward": {"seed": 7, "loss_type": "bradley_terry"}, "model": {}}
    summary = RunSummary(tmp_path, "model", "data", result, Speed(1.0, 2.0, 3.0), settings, "f" * 64, ["note"], [])
    record = json.loads(write_record(summary).read_text())
    assert record["seed"] == 7
    assert record["held_out"]["accuracy"]["value"] == 1.0
    assert record["held_out"]["baselines"]["longest"]["n"] == 1
    assert record["speed"]["saving"] == 3.0
    assert record["versions"] == versions()


def test_outside_of_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
