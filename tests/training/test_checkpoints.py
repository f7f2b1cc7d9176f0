"""What is saved beside the weights."""

import pytest
import tiny_models
from datasets import Dataset, IterableDataset

from rewardsmith import RewardConfig, RewardTrainer
from rewardsmith.data.training_record import read_training_record
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.training.checkpoints import record_training_data

ROWS = [{"prompt": f"good question number {i}?", "chosen": " a fine answer", "rejected": " awful"} for i in range(6)]


def asked(text: str) -> PreferenceGroup:
    return PreferenceGroup(text, ("a", "b"))


@pytest.mark.parametrize("as_groups", [False, True], ids=["rows", "groups"])
def test_a_saved_model_knows_which_prompts_it_was_trained_on(tmp_path, as_groups):
    model, tokenizer = tiny_models.qwen2()
    config = RewardConfig(
        str(tmp_path), report_to="none", use_cpu=True, verify_saved_model=False, gradient_checkpointing=False
    )
    groups = [PreferenceGroup(r["prompt"], (r["chosen"], r["rejected"]), (Comparison(0, 1),)) for r in ROWS]
    data = groups if as_groups else Dataset.from_list(ROWS)
    RewardTrainer(model, config, train_dataset=data, processing_class=tokenizer).save_model()
    record = read_training_record(tmp_path)
    assert record is not None
    assert record.groups == 6
    assert record.has_prompt(asked("Good question, number 3")) is True
    assert record.has_prompt(asked("good question number 6?")) is False


def test_a_stream_leaves_no_record_and_none_of_an_earlier_model(tmp_path):
    record_training_data(ROWS, tmp_path)
    assert read_training_record(tmp_path) is not None
    record_training_data(IterableDataset.from_generator(lambda: iter(ROWS)), tmp_path)
    assert read_training_record(tmp_path) is None


def test_rows_that_cannot_be_read_are_no_training_data(tmp_path):
    record_training_data([*ROWS, {"prompt": "x", "chosen": 5, "rejected": None}], tmp_path)
    assert read_training_record(tmp_path).groups == 6


def test_token_ids_leave_no_record(tmp_path):
    record_training_data([{"chosen_ids": [1, 2], "rejected_ids": [1, 3]}], tmp_path)
    assert read_training_record(tmp_path) is None
