"""The data of a run: held out as `data split` does, and mixed as `data merge` does."""

import json

from rewardsmith.data.splitting import split
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments, load_training_data


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


def test_the_train_side_of_a_split_is_held_out_from_by_a_second_hash_and_the_note_says_so(tmp_path):
    words = ("river", "lantern", "copper", "thunder", "orchard", "velvet", "saffron", "glacier")
    rows = [{"prompt": f"{words[i % 8]} {i * 7919} " * 3, "chosen": f"yes {i}", "rejected": "no"} for i in range(160)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    split(str(tmp_path / "all.jsonl"), tmp_path / "sides")
    script = ScriptArguments(dataset_name=str(tmp_path / "sides" / "train.jsonl"))
    data = load_training_data(script, DatasetMixtureConfig(), merge=True)
    assert data.held_out
    assert data.notes[-1].endswith("a second one: the first chose them all to train on, as `data split` does")
    few = ScriptArguments(dataset_name=script.dataset_name, train_limit=20)
    data = load_training_data(few, DatasetMixtureConfig(), merge=True)
    assert not data.held_out
    assert "fall short of the share 0.1; give --eval_dataset_name" in data.notes[-1]
