"""Runs of tiny policies: what is logged, learned, saved, resumed and refused."""

import json
import logging
import os
import signal

import pytest
import tiny_models
import torch
from transformers import TrainerCallback

from rewardsmith import PPOConfig, PPOTrainer, RewardModel
from rewardsmith.errors import ConfigError, DataError, ScoringError, UnreachableError
from rewardsmith.training.checkpoints import Interrupted

ROWS = [{"prompt": f"{word} question?"} for word in ("good", "bad", "nice", "poor", "fine")]


def config(folder, **changes) -> PPOConfig:
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "total_episodes": 12, "response_length": 6,
        "learning_rate": 1e-3, "report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
        "num_ppo_epochs": 2, "temperature": 1.0, "gradient_checkpointing": False,
    }  # fmt: skip
    return PPOConfig(**(settings | changes))


def letters(prompts, completions, **_):
    """A reward that tells answers apart: how many letters a they hold."""
    return [float(str(text).count("a")) for text in completions]


def trainer_for(folder, reward_model=letters, rows=ROWS, policy=None, tokenizer=None, peft_config=None, **changes):
    model, own = tiny_models.qwen2_causal()
    return PPOTrainer(
        config(folder, **changes), tokenizer or own, policy or model, reward_model=reward_model, train_dataset=rows,
        peft_config=peft_config,
    )  # fmt: skip


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory):
    return tiny_models.save_reward(tmp_path_factory.mktemp("reward") / "model")


def test_the_founding_guides_lines_run(reward_folder, tmp_path):
    model, tokenizer = tiny_models.qwen2_causal()
    config_ = config(tmp_path / "out", reward_model_path=str(reward_folder))
    trainer = PPOTrainer(model=model, config=config_, tokenizer=tokenizer, train_dataset=ROWS)
    trainer.train()
    trainer.save_model()
    logged = trainer.state.log_history
    assert [row["episode"] for row in logged] == [4, 8, 12]
    assert {"objective/kl", "objective/scores", "objective/rlhf_reward", "policy/approxkl_avg", "val/ratio"} <= set(
        logged[0]
    )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["reward_contracts"][0] == json.loads(
        json.dumps(RewardModel.from_pretrained(str(reward_folder)).contract.model_dump())
    )
    assert (tmp_path / "out" / "value_model" / "config.json").is_file()
    assert type(model).from_pretrained(tmp_path / "out").config.vocab_size == 420


def test_a_policy_that_holds_its_dropout_as_a_number_has_none(tmp_path):
    model, tokenizer = tiny_models.qwen2_causal()
    attention = model.model.layers[0].self_attn
    attention.attention_dropout = 0.3
    trainer_for(tmp_path, policy=model, tokenizer=tokenizer)
    assert attention.attention_dropout == 0


def test_values_start_from_the_reward_model(reward_folder, tmp_path):
    trainer = trainer_for(tmp_path, str(reward_folder))
    scored = RewardModel.from_pretrained(str(reward_folder))
    assert torch.equal(trainer.model.value_model.score.weight, scored.model.score.weight)


def test_a_reward_model_of_another_vocabulary_scores_texts_and_values_start_elsewhere(tmp_path, caplog):
    tiny_models.save_reward(tmp_path / "reward", "bert")
    trainer = trainer_for(tmp_path / "out", str(tmp_path / "reward"), total_episodes=4)
    assert caplog.text.count("its vocabulary is not the policy's") == 1
    trainer.train()
    with pytest.raises(ConfigError, match="another vocabulary; add a column 'prompt'"):
        trainer_for(tmp_path / "ids", str(tmp_path / "reward"), rows=[{"input_ids": [5, 6]}])


def test_the_first_ratio_is_one(tmp_path):
    trainer = trainer_for(tmp_path, num_ppo_epochs=1)
    trainer.train()
    for row in trainer.state.log_history:
        assert row["val/ratio"] == pytest.approx(1, abs=1e-6)
    assert trainer.state.log_history[0]["objective/kl"] == pytest.approx(0, abs=1e-5)
    assert trainer.state.log_history[-1]["objective/kl"] != 0


@pytest.mark.parametrize("has_adapter", [False, True])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, has_adapter):
    changes = {"kl_target": 1.0, "num_mini_batches": 2, "save_strategy": "steps", "save_steps": 2, "total_episodes": 16}
    adapter = None
    if has_adapter:
        adapter = pytest.importorskip("peft").LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")

    def run(folder):
        torch.manual_seed(0)
        return trainer_for(folder, peft_config=adapter, **changes)

    whole = run(tmp_path / "whole")
    whole.train()
    first = run(tmp_path / "cut")

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    first.callback_handler.callbacks.insert(0, Stop())
    with pytest.raises(Interrupted, match="checkpoint-2"):
        first.train()
    second = run(tmp_path / "cut")
    second.train(resume_from_checkpoint=True)
    assert second.state.global_step == 4
    assert second.kl_coef == whole.kl_coef != 0.05
    resumed = weights(second)
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole).items())


def test_the_reward_is_learned(tmp_path):
    trainer = trainer_for(
        tmp_path, total_episodes=32 * 12, per_device_train_batch_size=32, kl_coef=0.0, learning_rate=5e-3,
        lr_scheduler_type="constant",
    )  # fmt: skip
    trainer.train()
    scores = [row["objective/scores"] for row in trainer.state.log_history]
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.2


@pytest.mark.parametrize(
    "changes",
    [
        {"per_device_train_batch_size": 3, "num_mini_batches": 2, "total_episodes": 7},
        {"response_length": 1, "whiten_rewards": True, "missing_eos_penalty": 1.0},
        {"per_device_train_batch_size": 1, "total_episodes": 2, "kl_estimator": "k3", "stop_token": "eos"},
        {"stop_token_id": 5, "gradient_checkpointing": True},
    ],
    ids=["uneven", "one token", "one answer", "checkpointed"],
)
def test_odd_sizes_give_finite_weights(tmp_path, changes):
    trainer = trainer_for(tmp_path, **changes)
    trainer.train()
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_a_pad_token_that_is_eos_changes_nothing(tmp_path):
    found = []
    for name in ("apart", "one"):
        _, tokenizer = tiny_models.qwen2_causal()
        if name == "one":
            tokenizer.pad_token = tokenizer.eos_token
        trainer = trainer_for(tmp_path / name, tokenizer=tokenizer, total_episodes=4)
        trainer.train()
        found.append(weights(trainer))
    assert all(torch.allclose(value, found[1][name], atol=1e-6) for name, value in found[0].items())


def test_token_ids_alone_are_scored_by_a_model_of_the_same_vocabulary(reward_folder, tmp_path):
    rows = [{"input_ids": [5, 6, 7]}, {"input_ids": [8, 9]}]
    for reward in (str(reward_folder), tiny_models.qwen2()[0]):
        trainer = trainer_for(tmp_path / type(reward).__name__, reward, rows=rows, total_episodes=4)
        trainer.train()
        assert trainer.state.global_step == 1


def test_a_policy_without_chat_template_is_named(tmp_path):
    _, tokenizer = tiny_models.qwen2_causal()
    tokenizer.chat_template = None
    rows = [{"prompt": [{"role": "user", "content": "good?"}]}]
    with pytest.raises(ConfigError, match="has no chat template"):
        trainer_for(tmp_path, rows=rows, tokenizer=tokenizer)


def test_prompts_that_are_too_long_are_counted(tmp_path, caplog):
    rows = [*ROWS, {"prompt": "good " * 600}]
    assert len(trainer_for(tmp_path, rows=rows).prompts) == len(ROWS)
    assert "1 prompts leave no room for 6 tokens" in caplog.text
    with pytest.raises(DataError, match="all 1 prompts leave no room"):
        trainer_for(tmp_path, rows=rows[-1:])


def test_rewards_without_difference_are_said_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    trainer_for(tmp_path, lambda prompts, **_: [1.0] * len(prompts), total_episodes=32).train()
    assert caplog.text.count("every answer had one reward") == 1


@pytest.mark.parametrize("error", ["nan", "gone"])
def test_what_ends_a_run_leaves_its_last_update(tmp_path, error):
    calls = []

    def reward(prompts, completions, **_):
        calls.append(1)
        if len(calls) < 3:
            return letters(prompts, completions)
        if error == "gone":
            raise UnreachableError("http://reward: no answer")
        return [float("nan")] * len(prompts)

    kind, text = (UnreachableError, "no answer") if error == "gone" else (ScoringError, "gave the reward nan")
    with pytest.raises(kind, match=f"{text}.*checkpoint-2 in .* go on with resume_from_checkpoint"):
        trainer_for(tmp_path, reward, total_episodes=16).train()
    again = trainer_for(tmp_path, total_episodes=16)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4


def test_answers_that_cannot_be_scored_teach_nothing(tmp_path):
    trainer = trainer_for(tmp_path, lambda prompts, **_: [None, *[1.0] * (len(prompts) - 1)])
    trainer.model_wrapped = trainer.model
    rollout, metrics = trainer.roll_out(0)
    assert metrics["objective/not_scored"] == 1
    assert not rollout.states_BM[0].any()
    assert rollout.states_BM[1:, 0].all()


def test_missing_parts_are_named(tmp_path):
    model, tokenizer = tiny_models.qwen2_causal()
    with pytest.raises(ConfigError, match="no reward"):
        PPOTrainer(config(tmp_path), tokenizer, model, train_dataset=ROWS)
    with pytest.raises(ConfigError, match="no policy"):
        PPOTrainer(config(tmp_path), tokenizer, reward_model=letters, train_dataset=ROWS)
    with pytest.raises(DataError, match="train_dataset is required"):
        PPOTrainer(config(tmp_path), tokenizer, model, reward_model=letters)
