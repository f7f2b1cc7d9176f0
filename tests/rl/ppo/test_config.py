"""The settings of PPO: TRL's names, what follows from them, what is refused."""

import pytest

from rewardsmith import PPOConfig
from rewardsmith.errors import ConfigError

# The fields of TRL 1.12's PPOConfig beside those of TrainingArguments.
NAMES = """
dataset_num_proc num_mini_batches total_episodes local_rollout_forward_batch_size num_sample_generations
response_length stop_token stop_token_id temperature missing_eos_penalty sft_model_path world_size num_total_batches
micro_batch_size local_batch_size batch_size local_mini_batch_size mini_batch_size push_to_hub reward_model_path
model_adapter_name ref_adapter_name num_ppo_epochs whiten_rewards kl_coef kl_estimator cliprange vf_coef
cliprange_value gamma lam ds3_gather_for_generation
"""
TRL_FIELDS = NAMES.split()


def config(tmp_path, **changes):
    return PPOConfig(output_dir=str(tmp_path), use_cpu=True, **changes)


def test_every_field_of_trl_is_there(tmp_path):
    assert set(TRL_FIELDS) <= set(vars(config(tmp_path)))


def test_sizes_follow_from_batch_and_processes(tmp_path):
    found = config(tmp_path, per_device_train_batch_size=3, gradient_accumulation_steps=2, num_mini_batches=4)
    found.settle(10, 2)
    assert (found.local_batch_size, found.batch_size, found.micro_batch_size) == (6, 12, 6)
    assert (found.local_mini_batch_size, found.total_episodes, found.num_total_batches) == (2, 30, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_estimator": "k2"}, "k1 or k3"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"response_length": 0}, "response_length must be 1 or more"),
        ({"stop_token": "eos", "stop_token_id": 3}, "exclude each other"),
        ({"stop_token": "end"}, "stop_token must be"),
        ({"lam": 1.5}, "lam must be in"),
        ({"total_episodes": 0}, "total_episodes must be 1"),
        ({"ref_adapter_name": "old"}, "ref_adapter_name names one of several adapters"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **changes)


def test_more_mini_batches_than_answers_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="num_mini_batches is 9"):
        config(tmp_path, num_mini_batches=9).settle(10, 1)
