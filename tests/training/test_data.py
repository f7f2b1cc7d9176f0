"""The data of a run: held out as `data split` does, and mixed as `data merge` does."""

import json

import pytest

from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments, load_training_data

PAIRS = [
    {"prompt": f"Question {i} about a thing?\n", "chosen": f"good answer {i % 7}", "rejected": f"bad reply {i % 5} no"}
    for i in range(40)
]


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return path


def test_a_prompt_is_never_on_both_sides(pairs_file):
    script = ScriptArguments(dataset_name=str(pairs_file))
    data = load_training_data(script, DatasetMixtureConfig(test_split_size=0.5), merge=False)
    assert data.held_out
    assert len(data.train) + len(data.held_out) == 40
    assert not {g.prompt for g in data.train} & {g.prompt for g in data.held_out}


def test_a_prompt_that_differs_in_a_mark_only_is_never_on_both_sides(tmp_path):
    rows = [
        {"prompt": f"Number {i * i}{end}", "chosen": f"a{end}", "rejected": "b"} for i in range(300) for end in "? "
    ]
    (tmp_path / "twins.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = ScriptArguments(dataset_name=str(tmp_path / "twins.jsonl"))
    data = load_training_data(script, DatasetMixtureConfig(), merge=True)
    train, held_out = ({str(g.prompt).rstrip("? ") for g in part} for part in (data.train, data.held_out))
    assert held_out
    assert not train & held_out


def test_what_is_held_out_is_what_data_split_puts_aside(pairs_file):
    from rewardsmith.data.loading import load_preferences
    from rewardsmith.data.splitting import SplitPlan, split_groups

    data = load_training_data(ScriptArguments(dataset_name=str(pairs_file)), DatasetMixtureConfig(), merge=True)
    sides = split_groups(load_preferences(pairs_file), SplitPlan())
    assert [group.prompt for group in data.held_out] == [group.prompt for side, group in sides if side == "test"]


def test_the_train_side_of_a_split_holds_nothing_out_and_the_note_says_why(tmp_path, pairs_file):
    script, mixture = ScriptArguments(dataset_name=str(pairs_file)), DatasetMixtureConfig(test_split_size=0.5)
    prompts = {group.prompt for group in load_training_data(script, mixture, merge=True).train}
    side = tmp_path / "train.jsonl"
    side.write_text("".join(json.dumps(row) + "\n" for row in PAIRS if row["prompt"] in prompts))
    data = load_training_data(ScriptArguments(dataset_name=str(side)), mixture, merge=True)
    assert not data.held_out
    assert "are the train side of `data split`; give --eval_dataset_name" in data.notes[-1]
