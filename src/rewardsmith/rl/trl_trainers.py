"""TRL's GRPO and RLOO around a policy and a reward function, with checkpoints that are whole or not there."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_utils import TrainOutput

from rewardsmith.errors import ConfigError, missing_extra
from rewardsmith.records import Text, as_plain, fingerprint, text_key
from rewardsmith.rl.policy import Policy, ask
from rewardsmith.rl.ppo.opening import Given
from rewardsmith.rl.publishing import policy_files, write_reward_contracts
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.training import checkpoints
from rewardsmith.training.hub import HubMixin, token_apart

logger = logging.getLogger(__name__)
TRL_KINDS = ("grpo", "rloo")
# Of a checkpoint: the samples that are still to be learned from, one file a process.
SAMPLES = "samples_{}.pt"
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
        ConfigError: TRL refuses a setting, or there are fewer prompts than it answers at a time.
    """
    kind = type(config).__name__.removesuffix("Config").lower()
    rows = Dataset.from_list([{"prompt": as_plain(ask(policy, prompt))} for prompt in prompts])
    whole: Callable[..., Trainer] = _with_whole_checkpoints(_with_pushes(trl_classes(kind)[0]))
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
    size = given["generation_batch_size"] // given["num_generations"]
    if size > len(prompts):
        raise ConfigError(
            f"{len(prompts)} prompts are fewer than the {size} that are answered at a time "
            "(per_device_train_batch_size times steps_per_generation over num_generations); give more or lower one"
        )
    trainer.reward_sources = reward.sources  # type: ignore[attr-defined]
    trainer.identity = {  # type: ignore[attr-defined]
        "data": fingerprint([text_key(prompt) for prompt in prompts]),
        "model": checkpoints.fingerprint_model(policy.model),
        "settings": {name: given[name] for name in SETTINGS if name in given},
    }
    return trainer


@dataclass(frozen=True, slots=True)
class _Begun:
    """What an optimizer step began with; one that fails has moved on from it and is repeated from here."""

    step: int
    micro_step: int
    samples: object
    draw_again: Callable[[], None]


class _EpochOrder(Sampler[int]):
    """TRL's order of prompts, of which a run that goes on takes the epoch that it is in, not the first one again."""

    def __init__(self, sampler: Sampler[int], trainer: Trainer) -> None:
        self.sampler, self.trainer = sampler, trainer

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        how = vars(self.sampler)
        if how["shuffle"]:
            how["generator"].manual_seed(how["seed"])
            for _ in range(int(self.trainer.state.epoch or 0)):
                torch.randperm(how["num_samples"], generator=how["generator"])
        return iter(self.sampler)


def _keep_random() -> Callable[[], None]:
    """Return what sets all random numbers back to where they are now."""
    own, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def draw_again() -> None:
        random.setstate(own)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(devices)

    return draw_again


def _write_samples(trainer: Trainer, folder: Path, begun: _Begun, is_begun: bool) -> None:
    held = {"micro_step": begun.micro_step, "samples": begun.samples, "is_begun": is_begun}
    torch.save(held, folder / SAMPLES.format(trainer.args.process_index))


def _read_samples(trainer: Trainer, folder: Path) -> str | None:
    """Give a trainer the samples and the count of a checkpoint; return it where its random numbers are a step's own."""
    path = folder / SAMPLES.format(trainer.args.process_index)
    if not path.is_file():
        logger.warning("%s holds no samples; answers are drawn anew", folder)
        return None
    held = torch.load(path, map_location=trainer.args.device, weights_only=True)
    vars(trainer).update(_step=held["micro_step"], _buffered_inputs=held["samples"])
    return str(folder) if held["is_begun"] else None


def _with_pushes(kind: type[Trainer]) -> type[Trainer]:
    """Return a trainer that says what its policy was optimised by, and pushes it with that alone."""

    class PushingTrainer(HubMixin, kind):  # type: ignore[valid-type, misc]
        reward_sources: Sequence[object] = ()

        def train(self, *args: object, **kwargs: object) -> TrainOutput:
            self.saved_in = None
            return super().train(*args, **kwargs)  # type: ignore[arg-type]

        def save_here(self, folder: Path) -> None:
            super().save_model(str(folder), _internal_call=True)
            if self.args.should_save:
                write_reward_contracts(folder, self.reward_sources)
            self.saved_in = folder

        def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
            with token_apart(self.args):
                super()._save(output_dir, state_dict)

        def files_to_push(self, folder: Path) -> list[str]:
            return policy_files(folder, self.processing_class)  # type: ignore[arg-type]

    return PushingTrainer


def _with_whole_checkpoints(kind: type[Trainer]) -> type[Trainer]:
    """Return a trainer whose checkpoints are whole or absent and of this run, and which goes on as if it never stopped.

    TRL keeps samples for several optimizer steps (`steps_per_generation`, `num_iterations`) in memory alone, counts
    from 0 again where it goes on, and begins with the first epoch's order of prompts. Here a checkpoint holds samples
    and count, and that of a step that failed the random numbers which the step began with.
    """

    class WholeTrainer(kind):  # type: ignore[valid-type, misc]
        identity: dict[str, Any]
        begun: _Begun | None = None
        fetched_at: int | None = None
        taken_up: str | None = None

        def _prepare_inputs(self, generation_batch: object) -> object:
            if self.model.training and (self.begun is None or self.begun.step != self.state.global_step):
                if self.taken_up is not None:
                    self._load_rng_state(self.taken_up)
                    self.taken_up = None
                self.begun = self._now()
            return super()._prepare_inputs(generation_batch)

        def get_batch_samples(self, *args: object) -> object:
            found = super().get_batch_samples(*args)
            self.fetched_at = self.state.global_step
            return found

        def _get_train_sampler(self, dataset: object = None) -> _EpochOrder:
            return _EpochOrder(super()._get_train_sampler(dataset), self)

        def _now(self) -> _Begun:
            return _Begun(self.state.global_step, self._step, self._buffered_inputs, _keep_random())

        def _save_checkpoint(self, model: object, trial: object) -> None:
            now = self._now()
            begun = self.begun if self.begun is not None and self.begun.step == now.step else now
            # The first data of an epoch draw a random number; Trainer draws it again where it goes on before them.
            is_begun = self.fetched_at == now.step
            write = super()._save_checkpoint

            def save() -> None:
                write(model, trial)
                folder = Path(self._get_output_dir(trial)) / f"{checkpoints.PREFIX_CHECKPOINT_DIR}-{now.step}"
                _write_samples(self, folder, begun, is_begun)
                if self.args.should_save:
                    write_reward_contracts(folder, self.reward_sources)

            begun.draw_again()
            checkpoints.save_whole(self, self.args.output_dir, save, {}, self.identity)
            now.draw_again()

        def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: object, **kwargs: object) -> None:
            checkpoints.require_same_run(resume_from_checkpoint, self.identity)
            super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)
            self.taken_up = _read_samples(self, Path(resume_from_checkpoint))

    return WholeTrainer
