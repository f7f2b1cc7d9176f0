import json

import forking
import pytest

from rewardsmith.data.simulate import demo_groups


def test_the_demo_has_short_answers_ties_five_annotators_and_no_prompt_on_both_sides():
    train, held_out = demo_groups(200, 50, 0)
    assert (len(train), len(held_out)) == (200, 50)
    assert {len(group) for group in train} == {2, 3, 4, 5, 6}
    assert any(group.num_ties for group in train)
    assert len({edge.annotator for group in train for edge in group.comparisons}) == 5
    assert not {group.prompt for group in train} & {group.prompt for group in held_out}
    assert max(text.count(".") for group in train for text in group.completions) <= 6


def test_a_seed_gives_the_same_demo_data():
    assert demo_groups(20, 5, 3) == demo_groups(20, 5, 3)
    assert demo_groups(20, 5, 3) != demo_groups(20, 5, 4)


def test_a_folder_of_somebody_else_is_left_alone(command, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("years of work")
    code, _, err = command("demo")
    assert code == 1
    assert "--output_dir" in err
    assert (tmp_path / "demo" / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_the_demo_learns_what_its_baselines_cannot(tmp_path):
    result = forking.run(["-m", "rewardsmith", "demo"], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    held_out = json.loads((tmp_path / "demo" / "model" / "run.json").read_text())["held_out"]
    best_baseline = max(rule["high"] for rule in held_out["baselines"].values())
    assert held_out["accuracy"]["low"] > best_baseline + 0.1
    for text in ("gold ceiling", "scored by the saved model", "next", "demo/train.jsonl"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--num_prompts", "-1"), ("--num_train_epochs", "0"), ("--seed", "-1"), ("--output_dir", "taken")],
)
def test_a_demo_that_cannot_run_says_so_before_it_writes(command, tmp_path, flag, value):
    (tmp_path / "taken").write_text("mine")
    code, _, err = command("demo", flag, value)
    assert code == 1
    assert err.startswith("rewardsmith demo: error: ")
    assert value in err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
