"""TRL's GRPO and RLOO around a policy and a reward function, with checkpoints that are whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import Trainer

from rewardsmith.errors import ConfigError, missing_extra
from rewardsmith.records import Text, as_plain, fingerprint, text_key
from rewardsmith.rl.policy import Policy, ask
from rewardsmith.rl.ppo.opening import Given
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.training import checkpoints

TRL_KINDS = ("grpo", "rloo")
# What decides the weights of a run beside its prompts and its policy, where the configuration has it.
SETTINGS = (
    *("beta", "num_generations", "max_completion_length", "temperature", "top_p", "top_k", "epsilon", "num_iterations"),
    *("loss_type", "scale_rewards", "learning_rate", "lr_scheduler_type", "max_grad_norm", "seed", "bf16", "fp16"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "weight_decay", "steps_per_generation"),
)


def trl_classes(kind: str) -> tuple[type[Trainer], Any]:
    """Return TRL's trainer and configuration of an algorithm. Raises MissingExtraError without TRL."""
    try:
        import trl
    except ImportError as error:
        raise missing_extra("trl", "rl") from error
    name = kind.upper()
    return getattr(trl, f"{name}Trainer"), getattr(trl, f"{name}Config")


def build_trl_trainer(
    policy: Policy,
    prompts: Sequence[Text],
    reward: RewardFunction,
    config: Given,
    adapter: object = None,
) -> Trainer:
    """Return TRL's trainer, ready to train.

    Args:
        policy: loaded from a folder or from the hub; from there TRL loads what KL is measured from.
        prompts: asked as messages where the policy has a chat template.
        config: a GRPOConfig or RLOOConfig.
        adapter: of PEFT, to train in place of all weights.

    Raises:
        ConfigError: TRL refuses a setting.
    """
    kind = type(config).__name__.removesuffix("Config").lower()
    rows = Dataset.from_list([{"prompt": as_plain(ask(policy, prompt))} for prompt in prompts])
    whole: Callable[..., Trainer] = _with_whole_checkpoints(trl_classes(kind)[0])
    try:
        trainer = whole(
            model=policy.model,
            reward_funcs=reward,
            args=config,
            train_dataset=rows,
            processing_class=policy.tokenizer,
            peft_config=adapter,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"TRL refuses these settings: {str(error).strip().splitlines()[0]}") from error
    given = config.to_dict()
    trainer.identity = {  # type: ignore[attr-defined]
        "data": fingerprint([text_key(prompt) for prompt in prompts]),
        "model": checkpoints.fingerprint_model(policy.model),
        "settings": {name: given[name] for name in SETTINGS if name in given},
    }
    return trainer


def _with_whole_checkpoints(kind: type[Trainer]) -> type[Trainer]:
    """Return a trainer that writes checkpoints aside and renames them, and refuses those of another run."""

    class WholeTrainer(kind):  # type: ignore[valid-type, misc]
        identity: dict[str, Any]

        def _save_checkpoint(self, model: object, trial: object) -> None:
            save = partial(super()._save_checkpoint, model, trial)
            checkpoints.save_whole(self, self.args.output_dir, save, {}, self.identity)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: object, **kwargs: object) -> None:
            checkpoints.require_same_run(resume_from_checkpoint, self.identity)
            super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)

    return WholeTrainer
