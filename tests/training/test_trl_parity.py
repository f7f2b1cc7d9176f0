"""Swapping the import in a TRL script gives the same numbers, step by step."""

import copy

import pytest
import tiny_models
import trl
from datasets import Dataset
from peft import LoraConfig

import rewardsmith

COMPARED = ("loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward", "grad_norm", "num_tokens")


def settings(**changes) -> dict:
    return {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "save_strategy": "no",
        "eval_strategy": "steps",
        "eval_steps": 4,
        "disable_tqdm": True,
    } | changes


def run(library, folder, model, tokenizer, rows, peft_config=None, **changes):
    verify = {} if library is trl else {"verify_saved_model": False}
    trainer = library.RewardTrainer(
        model=copy.deepcopy(model),
        args=library.RewardConfig(output_dir=str(folder / library.__name__), **settings(**changes), **verify),
        processing_class=copy.deepcopy(tokenizer),
        train_dataset=Dataset.from_list(rows),
        eval_dataset={"first": Dataset.from_list(rows[:9]), "second": Dataset.from_list(rows[9:20])},
        peft_config=copy.deepcopy(peft_config),
    )
    trainer.train()
    return trainer.state.log_history


def assert_same(tmp_path, model, tokenizer, rows, peft_config=None, **changes):
    theirs = run(trl, tmp_path, model, tokenizer, rows, peft_config, **changes)
    ours = run(rewardsmith, tmp_path, model, tokenizer, rows, peft_config, **changes)
    steps = 0
    for a, b in zip(theirs, ours, strict=True):
        # TRL averages the extremes of micro-batches; ours are those of the step.
        skipped = ("min_reward", "max_reward") if changes.get("gradient_accumulation_steps") else ()
        for name in [n for n in COMPARED if n in a and n not in skipped]:
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-5), (name, a["step"])
            steps += name == "loss"
        for name in ("eval_first_loss", "eval_second_loss"):
            if name in a:
                assert b[name] == pytest.approx(a[name], rel=1e-4)
    assert steps == len([log for log in theirs if "loss" in log])
    assert steps >= 5


def test_text_pairs(tmp_path):
    assert_same(tmp_path, *tiny_models.qwen2(), tiny_models.pairs(40))


def test_text_pairs_with_accumulation(tmp_path):
    assert_same(tmp_path, *tiny_models.qwen2(), tiny_models.pairs(40), gradient_accumulation_steps=2)


def test_implicit_prompts(tmp_path):
    rows = [{k: r["prompt"] + r[k] for k in ("chosen", "rejected")} for r in tiny_models.pairs(32)]
    assert_same(tmp_path, *tiny_models.qwen2(), rows)


def test_margin_and_centring(tmp_path):
    rows = [{**row, "margin": 0.25 * (i % 4)} for i, row in enumerate(tiny_models.pairs(32))]
    assert_same(tmp_path, *tiny_models.qwen2(), rows, center_rewards_coefficient=0.01)


def test_tokenised_pairs(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    rows = [
        {f"{k}_ids": tokenizer(r["prompt"] + r[k] + tokenizer.eos_token)["input_ids"] for k in ("chosen", "rejected")}
        for r in tiny_models.pairs(32)
    ]
    assert_same(tmp_path, model, tokenizer, rows)


def test_conversations_of_a_template_that_ends_in_eos(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = tiny_models.CHATML.replace("<|im_end|>\n", "<|im_end|>")
    assert_same(tmp_path, model, tokenizer, tiny_models.pairs(32, conversational=True))


def test_a_tokenizer_that_adds_bos(tmp_path):
    model, tokenizer = tiny_models.llama()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    model.resize_token_embeddings(len(tokenizer))
    assert_same(tmp_path, model, tokenizer, tiny_models.pairs(32))


def test_lora(tmp_path):
    config = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"])
    assert_same(tmp_path, *tiny_models.qwen2(), tiny_models.pairs(32), peft_config=config)


def test_rows_that_are_too_long_are_dropped_as_in_trl(tmp_path):
    rows = tiny_models.pairs(48)
    model, tokenizer = tiny_models.qwen2()
    assert_same(tmp_path, model, tokenizer, rows, max_length=36, per_device_train_batch_size=2)


def test_a_string_model_with_a_trained_head(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = Dataset.from_list(tiny_models.pairs(16))
    losses = []
    for library in (trl, rewardsmith):
        config = library.RewardConfig(output_dir=str(tmp_path / library.__name__), **settings(eval_strategy="no"))
        trainer = library.RewardTrainer(model=str(tmp_path / "model"), args=config, train_dataset=rows)
        trainer.train()
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_trls_own_collator_is_taken(tmp_path):
    from trl.trainer.reward_trainer import DataCollatorForPreference

    model, tokenizer = tiny_models.qwen2()
    losses = []
    for collator in (None, DataCollatorForPreference(pad_token_id=0)):
        trainer = rewardsmith.RewardTrainer(
            model=copy.deepcopy(model),
            args=rewardsmith.RewardConfig(output_dir=str(tmp_path), **settings(eval_strategy="no")),
            data_collator=collator,
            tokenizer=copy.deepcopy(tokenizer),
            train_dataset=Dataset.from_list(tiny_models.pairs(16)),
        )
        trainer.train()
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
