"""Runs side by side: best first, what has no held-out judgements last, broken records named."""

import json
import math

from rewardsmith.report.folders import read_runs, runs_table


def write(folder, accuracy, objective="bradley_terry"):
    folder.mkdir(parents=True)
    held_out = None
    if accuracy is not None:
        estimate = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1, "n": 100}
        held_out = {
            "accuracy": estimate,
            "baselines": {"longest": {**estimate, "value": 0.4}, "shortest": {**estimate, "value": 0.6}},
        }
    settings = {"reward": {"loss_type": objective, "learning_rate": 1e-4}, "model": {}}
    record = {"model": "m", "data": "d/pairs.jsonl", "held_out": held_out, "settings": settings}
    (folder / "run.json").write_text(json.dumps(record))


def test_the_best_run_stands_first_and_one_that_measured_nothing_last(tmp_path):
    write(tmp_path / "a", 0.6)
    write(tmp_path / "deep" / "b", 0.8, "hinge")
    write(tmp_path / "c", None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    runs, unread = read_runs(tmp_path)
    assert [run.name for run in runs] == ["deep/b", "a", "c"]
    assert runs[0].objective == "hinge"
    assert runs[0].baseline.value == 0.6
    assert len(unread) == 1
    assert "broken" in unread[0]
    table, note = runs_table(runs, unread)
    assert table.rows[2][1] == "none"
    assert "broken" in note.text


def test_runs_are_sorted_as_asked(tmp_path):
    write(tmp_path / "b", 0.6)
    write(tmp_path / "a", 0.5)
    assert [run.name for run in read_runs(tmp_path, "name")[0]] == ["a", "b"]
    assert read_runs(tmp_path)[0][0].to_dict()["accuracy"]["n"] == 100


def test_the_temperature_is_written_into_a_contract_only(tmp_path):
    import pytest
    import tiny_models

    from rewardsmith import RewardModel, evaluate
    from rewardsmith.errors import ConfigError
    from rewardsmith.evaluation import Resampling
    from rewardsmith.models.contract import read_contract
    from rewardsmith.report.folders import save_temperature

    tiny_models.save_reward(tmp_path / "model")
    result = evaluate(tmp_path / "model", tiny_models.pairs(60), how=Resampling(20))
    save_temperature(tmp_path / "model", result.calibration)
    fitted = result.calibration.temperature
    assert read_contract(tmp_path / "model").temperature == pytest.approx(fitted)
    saved = RewardModel.from_pretrained(tmp_path / "model")
    first, second = saved.score("a question", ["one answer", "another"])
    likely = saved.preference_probability("a question", "one answer", "another")
    assert likely == pytest.approx(1 / (1 + math.exp((second - first) / fitted)), abs=1e-6)
    with pytest.raises(ConfigError, match="write one with `rewardsmith export`"):
        save_temperature(tmp_path, result.calibration)
