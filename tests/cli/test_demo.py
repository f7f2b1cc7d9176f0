import json
import os
import subprocess
import sys

import pytest

from rewardsmith.cli.demo_data import simulate


def test_simulated_groups_have_two_to_six_answers_ties_and_several_annotators():
    groups = [item.group for item in simulate(200, 0)]
    assert {len(group) for group in groups} == {2, 3, 4, 5, 6}
    assert any(group.num_ties for group in groups)
    assert len({edge.annotator for group in groups for edge in group.comparisons}) == 5


def test_the_better_answer_by_gold_wins_most_judgements_but_not_all():
    right = total = 0
    for item in simulate(300, 1):
        for edge in item.group.comparisons:
            if not edge.is_tie:
                right += item.gold[edge.better] > item.gold[edge.worse]
                total += 1
    assert 0.8 < right / total < 0.95


def test_a_seed_gives_the_same_data():
    assert simulate(20, 3) == simulate(20, 3)
    assert simulate(20, 3) != simulate(20, 4)


def test_a_folder_of_somebody_else_is_left_alone(command, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("years of work")
    code, _, err = command("demo")
    assert code == 1
    assert "--output_dir" in err
    assert (tmp_path / "demo" / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_the_demo_learns_what_its_baselines_cannot(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "rewardsmith", "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    held_out = json.loads((tmp_path / "demo" / "model" / "run.json").read_text())["held_out"]
    best_baseline = max(held_out[name]["high"] for name in ("longer_wins", "majority"))
    assert held_out["accuracy"]["low"] > best_baseline + 0.1
    for text in ("gold ceiling", "scored by the saved model", "next", "demo/train.jsonl"):
        assert text in result.stdout
