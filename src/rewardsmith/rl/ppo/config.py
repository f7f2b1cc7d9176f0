"""PPOConfig: every field of TRL 1.12's, and what Rewardsmith adds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from rewardsmith.errors import ConfigError
from rewardsmith.rl.ppo.formulas import KL_ESTIMATORS
from rewardsmith.training.config import take_new_names

COUNTS = (
    *("num_mini_batches", "response_length", "num_ppo_epochs", "local_rollout_forward_batch_size"),
    *("per_device_train_batch_size", "gradient_accumulation_steps"),
)


def _field(default: object, text: str, **metadata: object) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class PPOConfig(TrainingArguments):
    """Settings of PPOTrainer: every field of TRL 1.12's PPOConfig, and those of Rewardsmith.

    A batch is `per_device_train_batch_size * gradient_accumulation_steps` prompts a process, each answered once. Where
    a default or a meaning differs from TRL's, docs/ppo.md says so.

    Args:
        num_mini_batches: an optimizer step is taken after each; a batch that does not divide is split unevenly.
        total_episodes: answers to sample in all; None takes `num_train_epochs` passes over the prompts.
        local_rollout_forward_batch_size: sequences of one call of `generate`, and of one forward without gradient.
        num_sample_generations: how often answers to the prompts of `eval_dataset` are sampled, scored and kept.
        response_length: the most tokens of an answer; one without an end by then is cut.
        stop_token, stop_token_id: "eos", or an id, that ends an answer; None stops where the policy says.
        temperature: of the sampling; the losses see the same distribution.
        missing_eos_penalty: what a cut answer loses of its reward.
        sft_model_path: the policy, where the trainer is given none.
        reward_model_path: a reward model of any layout that `RewardModel` reads, several with commas between them as
            one ensemble, or the address of a server.
        model_adapter_name, ref_adapter_name: refused; the one adapter of a PEFT policy is trained, and switched off it
            is the reference.
        num_ppo_epochs: passes over each batch.
        whiten_rewards: divide the rewards of states by their deviation.
        kl_coef: price of a nat of KL; the first one where `kl_target` is set.
        kl_estimator: "k1" or "k3".
        cliprange, cliprange_value: of the ratio, and of the values.
        vf_coef: weight of the value loss.
        gamma, lam: discount, and lambda of the advantages.
        kl_target: nats an answer that `kl_coef` is adapted towards; None keeps it fixed.
        kl_gain: the most that an update changes it is 0.2 times this.
        wait_seconds: how long a reward server that does not answer is waited for.
    """

    learning_rate: float = _field(3e-6, "Initial learning rate of AdamW.")
    logging_steps: float = _field(10, "Log every this many updates; below 1, a share of all.")
    gradient_checkpointing: bool = _field(True, "Recompute activations in the backward pass to save memory.")
    bf16: bool | None = _field(  # type: ignore[assignment]
        None, "bf16 mixed precision; by default on where the hardware computes it, unless fp16."
    )

    dataset_num_proc: int | None = _field(None, "Accepted for compatibility; prompts are encoded in one process.")
    num_mini_batches: int = _field(1, "Mini-batches of a batch, an optimizer step each.")
    total_episodes: int | None = _field(None, "Answers to sample in all; by default num_train_epochs passes.")
    local_rollout_forward_batch_size: int = _field(64, "Sequences of one call without gradient.")
    num_sample_generations: int = _field(10, "How often answers to the prompts of eval_dataset are sampled.")
    response_length: int = _field(53, "The most tokens of an answer.")
    stop_token: str | None = _field(None, "'eos' ends an answer; by default what the policy says.", choices=["eos"])
    stop_token_id: int | None = _field(None, "Id that ends an answer.")
    temperature: float = _field(0.7, "Sampling temperature.")
    missing_eos_penalty: float | None = _field(None, "What a cut answer loses of its reward.")
    sft_model_path: str | None = _field(None, "The policy, where the trainer is given none.")
    world_size: int | None = _field(None, "Filled in: number of processes.")  # type: ignore[assignment]
    num_total_batches: int | None = _field(None, "Filled in: number of updates.")
    micro_batch_size: int | None = _field(None, "Filled in: per_device_train_batch_size * world_size.")
    local_batch_size: int | None = _field(None, "Filled in: answers of a batch on one process.")
    batch_size: int | None = _field(None, "Filled in: answers of a batch.")
    local_mini_batch_size: int | None = _field(None, "Filled in: answers of a mini-batch on one process.")
    mini_batch_size: int | None = _field(None, "Filled in: answers of a mini-batch.")
    push_to_hub: bool = _field(False, "Push the policy to the hub after training.")
    reward_model_path: str | None = _field(None, "Reward model: folder, hub id, several with commas, or an address.")
    model_adapter_name: str | None = _field(None, "Refused; a policy has one adapter.")
    ref_adapter_name: str | None = _field(None, "Refused; the adapter switched off is the reference.")
    num_ppo_epochs: int = _field(4, "Passes over each batch.")
    whiten_rewards: bool = _field(False, "Divide rewards by their deviation.")
    kl_coef: float = _field(0.05, "Price of a nat of KL.")
    kl_estimator: str = _field("k1", "'k1' or 'k3'.", choices=list(KL_ESTIMATORS))
    cliprange: float = _field(0.2, "Clip range of the ratio.")
    vf_coef: float = _field(0.1, "Weight of the value loss.")
    cliprange_value: float = _field(0.2, "Clip range of the values.")
    gamma: float = _field(1.0, "Discount.")
    lam: float = _field(0.95, "Lambda of the advantages.")
    ds3_gather_for_generation: bool = _field(True, "Accepted for compatibility; ZeRO-3 is not supported.")

    kl_target: float | None = _field(None, "Nats an answer that kl_coef is adapted towards; by default it is fixed.")
    kl_gain: float = _field(0.1, "How strongly kl_coef is adapted.")
    wait_seconds: float = _field(600.0, "How long a reward server that does not answer is waited for.")

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = not self.fp16 and not self.use_cpu and torch.cuda.is_available()
        if self.use_cpu or not torch.cuda.is_available():
            self.dataloader_pin_memory = False
        # A field of TRL's that stands where TrainingArguments has a property.
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self._check()
        take_new_names(self)
        super().__post_init__()

    def _check(self) -> None:
        """Refuse settings that train nothing or mean nothing. Raises ConfigError."""
        for name in ("model_adapter_name", "ref_adapter_name"):
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{name} names one of several adapters; leave it out and give the policy one adapter: trained, "
                    "it is the policy, and switched off the reference"
                )
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.total_episodes is not None and self.total_episodes < 1:
            raise ConfigError(f"total_episodes must be 1 or more, not {self.total_episodes}")
        if self.kl_estimator not in KL_ESTIMATORS:
            raise ConfigError(f"kl_estimator must be k1 or k3, not {self.kl_estimator!r}")
        if self.stop_token is not None and self.stop_token_id is not None:
            raise ConfigError("stop_token and stop_token_id exclude each other; set one of them")
        if self.stop_token not in (None, "eos"):
            raise ConfigError(
                f"stop_token must be 'eos' or None, not {self.stop_token!r}; name others by stop_token_id"
            )
        above_zero = {"temperature": self.temperature, "cliprange": self.cliprange, "kl_target": self.kl_target}
        above_zero |= {"cliprange_value": self.cliprange_value, "missing_eos_penalty": self.missing_eos_penalty}
        for name, value in above_zero.items():
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value:g}")
        if not self.kl_coef >= 0:
            raise ConfigError(f"kl_coef must be 0 or more, not {self.kl_coef:g}; below 0 it would pay for KL")
        for name, value in {"gamma": self.gamma, "lam": self.lam}.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must be in [0, 1], not {value:g}")

    def settle(self, num_prompts: int, num_processes: int) -> None:
        """Fill in the sizes that follow from others, in TRL's names."""
        if self.total_episodes is None:
            self.total_episodes = max(1, int(self.num_train_epochs * num_prompts))
        self.world_size = num_processes
        self.local_batch_size = self.per_device_train_batch_size * self.gradient_accumulation_steps
        self.micro_batch_size = self.per_device_train_batch_size * num_processes
        self.batch_size = self.local_batch_size * num_processes
        if self.num_mini_batches > self.local_batch_size:
            raise ConfigError(
                f"num_mini_batches is {self.num_mini_batches} and a batch has {self.local_batch_size} answers a "
                "process; raise per_device_train_batch_size or gradient_accumulation_steps"
            )
        # Where a batch does not divide, the first mini-batches hold one answer more.
        self.local_mini_batch_size = -(-self.local_batch_size // self.num_mini_batches)
        self.mini_batch_size = self.local_mini_batch_size * num_processes
        self.num_total_batches = -(-self.total_episodes // self.batch_size)
