import pytest
import tiny_models
import torch
from trl import GRPOConfig, GRPOTrainer

from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.rl.policy import Policy
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.trl_trainers import build_trl_trainer, trl_classes
from rewardsmith.training.checkpoints import damage


def ones(prompts, **_):
    return [float(number) for number in range(len(prompts))]


def build(folder, **changes):
    settings = {"per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 4, "max_steps": 1}
    plain = {"use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False, "save_steps": 1}
    policy = Policy(*tiny_models.qwen2_causal())
    how = GRPOConfig(output_dir=str(folder), **(settings | plain | changes))
    return build_trl_trainer(policy, ["is it good", "is it bad"], reward_function(ones), how)


def test_the_classes_are_those_of_trl():
    assert trl_classes("grpo") == (GRPOTrainer, GRPOConfig)


def test_prompts_are_asked_as_the_policy_is_asked(tmp_path):
    trainer = build(tmp_path)
    assert isinstance(trainer, GRPOTrainer)
    assert trainer.train_dataset[0]["prompt"] == [{"role": "user", "content": "is it good"}]


def test_a_checkpoint_has_digests_and_one_of_another_run_is_refused(tmp_path):
    build(tmp_path).train()
    assert (tmp_path / "checkpoint-1" / "checksums.json").is_file()
    assert damage(tmp_path / "checkpoint-1") is None
    assert not (tmp_path / ".staging").exists()
    with pytest.raises(CheckpointError, match=r"temperature was 1\.0, is 0.5"):
        build(tmp_path, temperature=0.5, max_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"num_iterations": 2}, 1),
        pytest.param({"num_iterations": 2}, 2, marks=pytest.mark.slow),
        pytest.param({"steps_per_generation": 2}, 1, marks=pytest.mark.slow),
        ({}, 3),
    ],
)
def test_a_run_that_goes_on_from_any_checkpoint_ends_with_the_weights_of_a_whole_one(changes, step, tmp_path):
    # Samples that are half used, and an order of prompts in its second epoch.
    how = {"max_steps": 4, "learning_rate": 1e-2, "gradient_accumulation_steps": 1, **changes}
    whole = build(tmp_path / "whole", **how)
    whole.train()
    again = build(tmp_path / "again", **how)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
    ends = weights(again.model)
    assert all(torch.equal(value, ends[name]) for name, value in weights(whole.model).items())
    assert not torch.equal(build(tmp_path / "start", **how).model.lm_head.weight, ends["lm_head.weight"])


def test_a_checkpoint_without_samples_is_gone_on_from_and_says_that_they_are_drawn_anew(tmp_path, caplog):
    build(tmp_path).train()
    (tmp_path / "checkpoint-1" / "samples_0.pt").unlink()
    build(tmp_path, max_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert "holds no samples; answers are drawn anew" in caplog.text


def test_fewer_prompts_than_are_answered_at_a_time_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="2 prompts are fewer than the 4 that are answered at a time"):
        build(tmp_path, steps_per_generation=4)


def test_what_trl_refuses_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="TRL refuses these settings"):
        build(tmp_path, sync_ref_model=True, beta=0.0)
