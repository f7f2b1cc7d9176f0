"""What is saved beside the weights; a model that fails its check is kept aside, and its folder stays as it was."""

import json
from types import SimpleNamespace

import pytest
import tiny_models
import torch
from datasets import Dataset, IterableDataset
from transformers import AutoTokenizer

from rewardsmith import RewardConfig, RewardModel, RewardTrainer
from rewardsmith.data.training_record import read_training_record
from rewardsmith.errors import CheckpointError
from rewardsmith.models import checkpoint
from rewardsmith.models.shared_prefix.plan import compute_rewards
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.training import publishing
from rewardsmith.training.publishing import record_training_data, trained_before

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


def test_a_model_that_goes_on_from_another_tells_of_the_data_of_both(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    how = {"report_to": "none", "use_cpu": True, "verify_saved_model": False, "gradient_checkpointing": False}
    first = RewardTrainer(
        model,
        RewardConfig(str(tmp_path / "a"), **how),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer,
    )
    first.save_model()
    others = Dataset.from_list([{**row, "prompt": f"Another {i} of them"} for i, row in enumerate(ROWS)])
    RewardTrainer(str(tmp_path / "a"), RewardConfig(str(tmp_path / "b"), **how), train_dataset=others).save_model()
    record = read_training_record(tmp_path / "b")
    assert record.groups == 12
    assert record.has_prompt(asked("another 3 of them")) is True
    assert record.has_prompt(asked("Good question, number 3")) is True
    assert trained_before(str(tmp_path / "a" / "checkpoint-1")) is None
    (tmp_path / "a" / "checkpoint-1").mkdir()
    assert trained_before(str(tmp_path / "a" / "checkpoint-1")).groups == 6


def test_a_tokenizer_that_transformers_loads_as_another_is_said(tmp_path, caplog):
    model, tokenizer = tiny_models.qwen2()
    trained(tmp_path / "own", model, tokenizer).save_model()
    assert "loads the tokenizer of" in caplog.text
    assert "Qwen2Tokenizer" in caplog.text
    caplog.clear()
    loaded = AutoTokenizer.from_pretrained(tmp_path / "own")
    trained(tmp_path / "loaded", tiny_models.qwen2()[0], loaded).save_model()
    assert "loads the tokenizer of" not in caplog.text


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


def trained(folder, model, tokenizer, adapter=None, **changes):
    settings = {"max_steps": 2, "learning_rate": 1e-3, "report_to": "none", "use_cpu": True, "save_strategy": "no"}
    config = RewardConfig(str(folder), disable_tqdm=True, **(settings | changes))
    data = Dataset.from_list(ROWS)
    trainer = RewardTrainer(model, config, train_dataset=data, processing_class=tokenizer, peft_config=adapter)
    trainer.train()
    return trainer


def test_a_model_trained_in_bf16_autocast_is_saved_with_its_rewards_in_full_precision(tmp_path):
    trainer = trained(tmp_path, *tiny_models.qwen2(), bf16=True)
    trainer.save_model()
    contract = json.loads((tmp_path / "scoring_contract.json").read_text())
    assert contract["dtype"] == "float32"
    model = RewardModel.from_pretrained(str(tmp_path))
    golden = contract["golden"][0]
    [[reward]] = compute_rewards(model.model, [[golden["ids"]]])
    assert reward == pytest.approx(golden["reward"], abs=1e-5)
    # The trainer's own autocast is back: training could go on.
    assert "forward" in trainer.model.__dict__


def test_an_adapter_on_a_base_that_is_stored_in_bf16_is_saved(tmp_path):
    from peft import LoraConfig

    model, tokenizer = tiny_models.qwen2()
    for part in (model.to(torch.bfloat16), tokenizer):
        part.save_pretrained(tmp_path / "base")
    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"], r=2)
    trained(tmp_path / "out", str(tmp_path / "base"), None, adapter).save_model()
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_an_adapter_is_also_saved_merged_with_one_reward_in_every_tool(tmp_path):
    """The base's template ends in a newline and the base has no pad token: by path, tools would score other tokens."""
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification, pipeline

    model, tokenizer = tiny_models.qwen2_causal()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    trained(tmp_path / "out", str(tmp_path / "base"), None, LoraConfig(r=2), learning_rate=1e-2).save_model()
    text = RewardModel.from_pretrained(str(tmp_path / "out")).render("good question", " a fine answer")
    [reward] = RewardModel.from_pretrained(str(tmp_path / "out")).score("good question", [" a fine answer"])
    merged = str(tmp_path / "out" / "merged")
    assert RewardModel.from_pretrained(merged).score("good question", [" a fine answer"]) == pytest.approx(
        [reward], abs=1e-5
    )
    [found] = pipeline("text-classification", model=merged, function_to_apply="none")(text)
    assert found["score"] == pytest.approx(reward, abs=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(merged)
    # As TRL's trainers open a reward model by its path.
    ids = AutoTokenizer.from_pretrained(plain.config._name_or_path)(text, return_tensors="pt")
    assert plain(**ids).logits.item() == pytest.approx(reward, abs=1e-5)
    trained(tmp_path / "out", *tiny_models.qwen2(), verify_saved_model=False).save_model()
    assert not (tmp_path / "out" / "merged").exists()


def test_a_merged_model_may_be_left_out(tmp_path):
    from peft import LoraConfig

    model, tokenizer = tiny_models.qwen2()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    options = {"save_merged": False, "verify_saved_model": False}
    trained(tmp_path / "out", str(tmp_path / "base"), None, LoraConfig(r=2), **options).save_model()
    assert not (tmp_path / "out" / "merged").exists()


def test_the_built_in_template_goes_with_a_model_that_was_trained_on_conversations_without_one(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = None
    rows = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in ROWS
    ]
    config = RewardConfig(str(tmp_path), max_steps=1, report_to="none", use_cpu=True, verify_saved_model=False)
    trainer = RewardTrainer(model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.save_model()
    messages = [*rows[0]["prompt"], *rows[0]["chosen"]]
    text = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(messages, tokenize=False)
    assert text.startswith("\n\nHuman: good question")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == trainer.train_dataset[0]["ids"][0]


def test_a_model_that_fails_its_check_is_kept_aside_and_the_old_one_stays(tmp_path, monkeypatch):
    trainer = trained(tmp_path, *tiny_models.qwen2())
    trainer.save_model()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def fails(folder, **_):
        raise CheckpointError(f"{folder} was saved but differs")

    monkeypatch.setattr(checkpoint, "verify_in_fresh_process", fails)
    with torch.no_grad():
        trainer.model.score.weight += 1.0
    with pytest.raises(CheckpointError, match=r"unverified-model was saved but differs; nothing is lost"):
        trainer.save_model()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert (tmp_path / "unverified-model" / "model.safetensors").is_file()
    assert not (tmp_path / ".staging").exists()


def test_what_fails_beside_the_weights_does_not_cost_them(tmp_path):
    trainer = trained(tmp_path, *tiny_models.qwen2())
    with torch.no_grad():
        trainer.model.score.weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"is nan; .*nothing is lost: the trained weights are in .*unverified-"):
        trainer.save_model()
    assert (tmp_path / "unverified-model" / "model.safetensors").is_file()


def test_a_folder_caught_in_between_never_holds_the_contract_of_other_weights(tmp_path, monkeypatch):
    trainer = trained(tmp_path, *tiny_models.qwen2(), verify_saved_model=False)
    trainer.save_model()
    monkeypatch.setattr(publishing, "os", SimpleNamespace(replace=lambda *_: (_ for _ in ()).throw(InterruptedError)))
    with pytest.raises(InterruptedError):
        trainer.save_model()
    assert not (tmp_path / "scoring_contract.json").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_a_collator_of_the_users_own_can_be_saved(tmp_path):
    from trl.trainer.reward_trainer import DataCollatorForPreference

    model, tokenizer = tiny_models.qwen2()
    config = RewardConfig(
        str(tmp_path), max_steps=2, report_to="none", use_cpu=True, save_strategy="steps", save_steps=1
    )
    trainer = RewardTrainer(
        model,
        config,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer,
        data_collator=DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id),
    )
    trainer.train()
    trainer.save_model()
    assert RewardModel.from_pretrained(str(tmp_path)).score("good question", [" fine"])
