"""What a run is made of: the policy, what scores its answers, and what a checkpoint has to agree with."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from rewardsmith.errors import ConfigError, one_line
from rewardsmith.models.heads import quiet_renames
from rewardsmith.rl.policy import Policy, open_policy
from rewardsmith.rl.ppo.config import PPOConfig
from rewardsmith.rl.ppo.models import means_the_same
from rewardsmith.rl.ppo.rollout import Asked, TextRewards, TokenRewards
from rewardsmith.rl.rewards import RewardFunction, reward_function
from rewardsmith.rl.shaping import RewardOptions
from rewardsmith.training import checkpoints

# What a caller hands over, of many types, told apart when a run begins.
Given = Any
# What decides the weights of a run beside its data and its policy.
SETTINGS = (
    *("num_mini_batches", "response_length", "stop_token", "stop_token_id", "temperature", "missing_eos_penalty"),
    *("num_ppo_epochs", "whiten_rewards", "kl_coef", "kl_estimator", "cliprange", "vf_coef", "cliprange_value"),
    *("gamma", "lam", "kl_target", "kl_gain", "learning_rate", "lr_scheduler_type", "max_grad_norm", "seed"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "bf16", "fp16", "optim", "weight_decay"),
)


def policy_of(model: Given, tokenizer: Given, peft_config: Given) -> Policy:
    """Return the policy with its tokenizer, in an adapter where one is asked for. Raises ConfigError."""
    if model is None:
        raise ConfigError("no policy: pass model, or set sft_model_path")
    if isinstance(model, str):
        opened = open_policy(model)
        policy = Policy(opened.model, tokenizer or opened.tokenizer, model)
    elif tokenizer is None:
        raise ConfigError("pass the policy's tokenizer as processing_class")
    else:
        policy = Policy(model, tokenizer, str(getattr(model, "name_or_path", "")) or "policy")
    if policy.tokenizer.eos_token_id is None:
        raise ConfigError(f"{policy.name}: its tokenizer has no EOS token, so no answer would end; set eos_token")
    if peft_config is None:
        return policy
    if hasattr(policy.model, "peft_config"):
        raise ConfigError("the policy already has an adapter; merge it first, or leave peft_config unset")
    from peft import get_peft_model

    try:
        with quiet_renames():
            wrapped: Given = get_peft_model(policy.model, peft_config)
    except ValueError as error:
        raise ConfigError(f"the adapter does not fit {policy.name}: {one_line(error)}") from error
    return Policy(wrapped, policy.tokenizer, policy.name)


def rewards_of(given: Given, args: PPOConfig, policy: Policy, has_ids_only: bool) -> tuple[Any, Any]:
    """Return what scores answers, and the model or function behind it.

    Raises:
        ConfigError: prompts come as ids alone, and the reward model has another vocabulary.
    """
    if isinstance(given, PreTrainedModel):
        return TokenRewards(given.to(args.device).eval()), given  # type: ignore[arg-type]
    if isinstance(given, RewardFunction):
        function = given
    else:
        function = reward_function(given, options=RewardOptions(wait_seconds=args.wait_seconds))
    source: Given = function.sources[0]
    if not has_ids_only:
        return TextRewards(function), source
    tokenizer = getattr(source, "tokenizer", None)
    if tokenizer is None or not means_the_same(policy.tokenizer, tokenizer) or not source.capabilities.scores_ids:
        raise ConfigError(
            "rows hold input_ids alone, and the reward reads texts or has another vocabulary; add a column 'prompt'"
        )
    return TokenRewards(source), source


def seed_of(seed: int, step: int, rank: int) -> int:
    """Return the seed of a step's draws: none depends on what was drawn before, so a resumed run draws the same."""
    return random.Random(f"{seed}/{step}/{rank}").getrandbits(31)


def identity_of(config: PPOConfig, policy: Policy, prompts: Sequence[Asked]) -> dict[str, Any]:
    """Return what a checkpoint has to agree with to be of this run."""
    data = hashlib.sha256(repr([prompt.ids for prompt in prompts]).encode()).hexdigest()
    given = config.to_dict()
    settings = {name: given[name] for name in SETTINGS}
    return {"data": data, "model": checkpoints.fingerprint_model(policy.model), "settings": settings}
