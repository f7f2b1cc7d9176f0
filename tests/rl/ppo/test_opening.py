"""What a run is made of."""

import pytest
import tiny_models

from rewardsmith.errors import ConfigError
from rewardsmith.rl.ppo import opening


def test_draws_of_steps_and_processes_differ_and_repeat():
    seeds = {opening.seed_of(0, step, rank) for step in range(3) for rank in range(2)}
    assert len(seeds) == 6
    assert opening.seed_of(0, 1, 0) in seeds


def test_a_policy_without_tokenizer_or_eos_is_named():
    model, tokenizer = tiny_models.qwen2_causal()
    with pytest.raises(ConfigError, match="pass the policy's tokenizer"):
        opening.policy_of(model, None, None)
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no EOS token"):
        opening.policy_of(model, tokenizer, None)


def test_an_adapter_is_put_around_a_policy_once():
    peft = pytest.importorskip("peft")
    model, tokenizer = tiny_models.qwen2_causal()
    settings = peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    policy = opening.policy_of(model, tokenizer, settings)
    with pytest.raises(ConfigError, match="already has an adapter"):
        opening.policy_of(policy.model, tokenizer, settings)
