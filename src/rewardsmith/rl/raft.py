"""RAFT: rounds of sampling, keeping the best answers by reward, and supervised training on them.

Dong et al. (2023), "RAFT: Reward rAnked FineTuning for Generative Foundation Model Alignment": each round samples K
answers to a batch of prompts from the newest policy, keeps the best one to each, and fits the policy to them.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rewardsmith.errors import CheckpointError, ConfigError, ScoringError, one_line
from rewardsmith.files.reading import read_json_lines
from rewardsmith.files.settings import option
from rewardsmith.files.writing import sync_tree, write_json
from rewardsmith.records import Text, as_text, fingerprint, text_key
from rewardsmith.rl.best_of_n import BestOfN, best_of_n
from rewardsmith.rl.policy import Policy, Sampling, encode_prompt
from rewardsmith.rl.ppo.rollout import prompts_of_step
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.rl.supervised import Example, SupervisedConfig, encode_answer, fit
from rewardsmith.training import checkpoints

WEIGHTS = "policy.safetensors"
# Which settings decide what a round gives.
SETTINGS = (
    *("num_generations", "prompts_per_round", "max_completion_length", "temperature", "top_p", "top_k"),
    *("learning_rate", "per_device_train_batch_size", "num_train_epochs", "max_grad_norm", "seed"),
)


@dataclass
class RaftConfig:
    """Settings of RAFT; what TRL has too has its name there."""

    output_dir: str | None = option(None, "Folder of the policy and everything that is written of the run.")
    num_rounds: int = option(5, "Rounds of sampling, choosing and training.")
    prompts_per_round: int = option(256, "Prompts that a round asks.")
    num_generations: int = option(8, "Answers to each prompt, of which the best is kept.")
    max_completion_length: int = option(256, "The most tokens of an answer.")
    temperature: float = option(1.0, "Sampling temperature.")
    top_p: float = option(1.0, "As in transformers; 1 leaves the distribution whole.")
    top_k: int = option(0, "As in transformers; 0 leaves the distribution whole.")
    learning_rate: float = option(1e-5, "Highest learning rate of a round.")
    per_device_train_batch_size: int = option(32, "Answers of an optimizer step, and of a call of generate.")
    num_train_epochs: float = option(1.0, "Passes over the kept answers of a round.")
    max_grad_norm: float = option(1.0, "The gradient is cut to this norm.")
    seed: int = option(0, "Of everything that is drawn.")
    use_cpu: bool = option(False, "Run on the CPU.")
    resume_from_checkpoint: str | None = option(None, "true, or a checkpoint's folder.")
    reward_weights: list[float] | None = option(None, "One a reward.")

    def __post_init__(self) -> None:
        for name in ("num_rounds", "prompts_per_round", "per_device_train_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.num_generations < 2:
            raise ConfigError(f"num_generations must be 2 or more, not {self.num_generations}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for a record."""
        return asdict(self)

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn, but for the seed."""
        return Sampling(
            self.max_completion_length, self.temperature, self.top_p, self.top_k, self.per_device_train_batch_size
        )


def run_raft(
    policy: Policy,
    prompts: Sequence[Text],
    reward: RewardFunction,
    config: RaftConfig,
    after_round: Callable[[int], object],
) -> list[dict[str, float]]:
    """Train a policy in place and return what each round logged; goes on where an earlier run stopped.

    Args:
        after_round: called with the number of rounds that are done; with the last one before going on.

    Raises:
        CheckpointError: a checkpoint of other prompts, another policy or other settings.
        ScoringError: rewards failed; the message names the checkpoint that holds the run.
    """
    folder = Path(str(config.output_dir))
    identity = {
        "data": fingerprint([text_key(prompt) for prompt in prompts]),
        "model": checkpoints.fingerprint_model(policy.model),
        "settings": {name: getattr(config, name) for name in SETTINGS},
    }
    found = checkpoints.choose_checkpoint(config.resume_from_checkpoint, str(folder))
    history: list[dict[str, float]] = []
    if found is not None:
        checkpoints.require_same_run(found, identity)
        policy.model.load_state_dict(load_file(Path(found) / WEIGHTS), strict=False)
        history = checkpoints.read_objective(found)["history"]
    try:
        after_round(len(history))
        for number in range(len(history), config.num_rounds):
            history.append(_round(policy, prompts, reward, config, number))
            save_round(policy, folder, history, identity)
            after_round(number + 1)
    except ScoringError as error:
        name = f"checkpoint-{len(history)}"
        if not (folder / name).exists():
            save_round(policy, folder, history, identity)
        raise type(error)(f"{error}; {name} in {folder} holds the run: go on with resume_from_checkpoint") from error
    return history


def save_round(policy: Policy, folder: Path, history: Sequence[dict[str, float]], identity: dict[str, Any]) -> None:
    """Write a checkpoint aside and rename it once it is whole. Raises CheckpointError where the disk is full."""
    staging, final = folder / checkpoints.STAGING, folder / f"checkpoint-{len(history)}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        save_file({name: value.contiguous() for name, value in policy.model.state_dict().items()}, staging / WEIGHTS)
        write_json(staging / checkpoints.OBJECTIVE, {"history": history})
        write_json(staging / checkpoints.IDENTITY, identity)
        write_json(staging / checkpoints.CHECKSUMS, checkpoints.checksums(staging))
        sync_tree(staging)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(f"{final} could not be written ({one_line(error)}); make room on the disk") from error
    shutil.rmtree(final, ignore_errors=True)
    os.replace(staging, final)


def _round(
    policy: Policy, prompts: Sequence[Text], reward: RewardFunction, config: RaftConfig, number: int
) -> dict[str, float]:
    """Sample, keep the best, train. Returns what is logged."""
    size = min(config.prompts_per_round, len(prompts))
    asked = [prompts[place] for place in prompts_of_step(len(prompts), number, size, config.seed)]
    out = Path(str(config.output_dir)) / "rounds" / f"round-{number + 1}.jsonl"
    seed = config.seed * 1_000_003 + number * 10_007
    plan = BestOfN(config.num_generations, sampling=Sampling(**{**asdict(config.sampling), "seed": seed}))
    # Samples are told by their policy; a server may come back under another address.
    unnamed = RewardFunction(reward.parts, reward.weights, "reward")
    found = best_of_n(policy, asked, unnamed, out, plan)
    rows = read_json_lines(out)
    examples = [_example(policy, as_text(row["prompt"], "prompt"), row["completion"]) for row in rows]
    how = SupervisedConfig(
        config.learning_rate,
        config.per_device_train_batch_size,
        config.num_train_epochs,
        config.max_grad_norm,
        config.seed + number,
    )
    loss = fit(policy, examples, how)
    kept = found.rewards
    return {
        "step": float(number + 1),
        "reward": kept["best of 1"].value,
        "reward_kept": kept["best of n"].value,
        "loss": loss,
        "completions/mean_length": math.fsum(len(e.answer) for e in examples) / len(examples),
        "completions/clipped_ratio": found.cut_share,
    }


def _example(policy: Policy, prompt: Text, completion: str | list[dict[str, str]]) -> Example:
    """Return an answer that was kept, text or one message, as an example."""
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    return Example(encode_prompt(policy, prompt), encode_answer(policy, prompt, text))
