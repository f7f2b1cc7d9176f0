import pytest
import tiny_models
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


def test_what_trl_refuses_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="TRL refuses these settings"):
        build(tmp_path, sync_ref_model=True, beta=0.0)
