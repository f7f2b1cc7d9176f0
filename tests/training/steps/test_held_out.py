"""Held-out steps, measured by the trainer's own scores, and a whole run of the command's function."""

import json

import pytest
from step_rows import ROWS, judge

import rewardsmith
from rewardsmith import PRMConfig, PRMTrainer
from rewardsmith.data.formats.trainers import step_group
from rewardsmith.evaluation.steps import StepResult
from rewardsmith.training.steps.held_out import measure_held_out

GROUPS = [step_group(f"question {n}", ["good nice", "bad"], [1, -1 if n else None], "row", {}) for n in range(3)]


def test_held_out_steps_are_measured_solution_by_solution(tmp_path):
    model, tokenizer = judge()
    args = PRMConfig(str(tmp_path), use_cpu=True, report_to="none")
    trainer = PRMTrainer(model, args, train_dataset=ROWS, processing_class=tokenizer)
    found = measure_held_out(trainer, GROUPS)
    assert found.accuracy.n == 5
    assert (found.found_wrong.n, found.found_right.n) == (2, 0)
    assert measure_held_out(trainer, [step_group("q", ["a"], [0], "row", {})]).accuracy.n == 1


@pytest.mark.slow
def test_a_run_on_a_file_of_steps_leaves_a_folder_and_its_result(tmp_path):
    model, tokenizer = judge()
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings = {"loss_type": "steps", "max_steps": 2, "use_cpu": True, "report_to": "none"}
    # The three questions nearly equal one another, so that none of them can be held out alone.
    settings["held_out"] = str(tmp_path / "steps.jsonl")
    run = rewardsmith.train(str(tmp_path / "base"), str(tmp_path / "steps.jsonl"), tmp_path / "out", **settings)
    assert isinstance(run.held_out, StepResult)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["held_out"]["f1"]["n"]
    assert "first error, F1" in (tmp_path / "out" / "README.md").read_text()
