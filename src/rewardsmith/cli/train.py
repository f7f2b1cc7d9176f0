"""`rewardsmith train`: the flags and YAML of `trl reward`, plus ours."""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback
from transformers.trainer_utils import get_last_checkpoint

from rewardsmith.cli import train_arguments
from rewardsmith.cli.train_arguments import DatasetMixtureConfig, ModelConfig, ScriptArguments
from rewardsmith.cli.train_data import TrainingData, load_training_data
from rewardsmith.cli.train_model import trainer_model
from rewardsmith.cli.train_progress import TrainingProgress
from rewardsmith.cli.train_report import RunSummary, Speed, print_table, write_report
from rewardsmith.errors import CheckpointError, ConfigError, RewardsmithError
from rewardsmith.evaluation.held_out import HeldOutResult, evaluate_held_out
from rewardsmith.models.shared_prefix.forward import compute_rewards, core_model
from rewardsmith.models.shared_prefix.sharing import fixed_positions
from rewardsmith.records import PreferenceGroup, TokenIds
from rewardsmith.training import RewardConfig, RewardTrainer
from rewardsmith.training.collator import tokens_of_pairs

make_parser = train_arguments.make_parser
TOKENS_PER_FORWARD = 8192


def configure(parser: argparse.ArgumentParser) -> None:
    """Keep the parser as `make_parser` built it; the configurations are its flags."""


def run(arguments: argparse.Namespace) -> int:
    """Train, evaluate, save and report. Returns 0."""
    parser = make_parser("rewardsmith train", "")
    arguments = train_arguments.resolve(parser, arguments, arguments.given)
    quiet_other_packages()
    script, config, model, mixture = build_configs(arguments)
    require_writable(Path(str(config.output_dir)))
    data = load_training_data(script, mixture, config.merge_prompts)
    for note in data.notes:
        print(note, file=sys.stderr)
    name = script.dataset_name or ", ".join(str(entry) for entry in mixture.datasets or [])
    model_name = model.model_name_or_path or f"random weights ({model.from_config})"
    summary = train_and_report(trainer_model(model, config, data.train), config, data, (model_name, name), vars(model))
    print_table(summary)
    print(f"\nmodel, contract, run.json, model card and curves: {summary.folder}")
    print(f"next: rewardsmith evaluate {summary.folder} DATA    rewardsmith serve {summary.folder}")
    return 0


def build_configs(
    arguments: argparse.Namespace,
) -> tuple[ScriptArguments, RewardConfig, ModelConfig, DatasetMixtureConfig]:
    """Build the four configurations. Raises ConfigError for values that they refuse."""
    values = train_arguments.split_configs(arguments)
    model = ModelConfig(**values[ModelConfig])
    if values[RewardConfig]["output_dir"] is None:
        source = model.model_name_or_path or model.from_config or "model"
        values[RewardConfig]["output_dir"] = f"{Path(source).name}-Reward"
    try:
        config = RewardConfig(**values[RewardConfig])
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(f"settings refused: {str(error).splitlines()[0]}") from error
    if config.max_steps == 0 or (config.max_steps < 0 and not config.num_train_epochs > 0):
        raise ConfigError(
            f"max_steps={config.max_steps} with num_train_epochs={config.num_train_epochs:g} trains nothing; "
            "give a positive number to one of them, and leave the other out"
        )
    script = ScriptArguments(**values[ScriptArguments])
    return script, config, model, DatasetMixtureConfig(**values[DatasetMixtureConfig])


def require_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before anything is read or trained."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ConfigError(f"output_dir {str(folder)!r} cannot be a folder: {place} is a file; name another")
    if not os.access(place, os.W_OK):
        raise ConfigError(f"output_dir {str(folder)!r} cannot be written: no permission in {place}; name another")


def train_and_report(
    parts: dict[str, Any],
    config: RewardConfig,
    data: TrainingData,
    names: tuple[str, str],
    model_settings: dict[str, Any],
) -> RunSummary:
    """Train on `data`, save the model, and write its report.

    Args:
        parts: `model` and what else of the trainer's arguments concerns it.
        names: of the model and of the data, for the report.
    """
    trainer = build_trainer(parts, config, data)
    started = time.perf_counter()
    try:
        steps_before = _train(trainer, config)
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(
            "the GPU's memory is full; lower tokens_per_batch, per_device_train_batch_size or max_length, or train an "
            f"adapter with --use_peft ({str(error).splitlines()[0]})"
        ) from error
    seconds = time.perf_counter() - started
    trainer.save_model()
    trainer.save_state()
    held_out, held_out_notes = score_held_out(trainer, data.held_out) if data.held_out else (None, [])
    for note in held_out_notes:
        print(note, file=sys.stderr)
    summary = RunSummary(
        folder=Path(str(config.output_dir)),
        model_name=names[0],
        data_name=names[1],
        held_out=held_out,
        speed=measure_speed(trainer, seconds, steps_before),
        settings={"reward": config.to_dict(), "model": model_settings},
        text_fingerprint=data.text_fingerprint(),
        notes=[
            *data.notes,
            *(f"{name}: {report}" for name, report in trainer.encoding_reports.items()),
            *held_out_notes,
        ],
        history=trainer.state.log_history,
    )
    if trainer.is_world_process_zero():
        write_report(summary)
    return summary


def build_trainer(parts: dict[str, Any], config: RewardConfig, data: TrainingData) -> RewardTrainer:
    """Build the trainer. Raises ConfigError when the model cannot be loaded, or a setting does not fit."""
    strategy = getattr(config.eval_strategy, "value", config.eval_strategy)
    if strategy != "no" and not data.held_out:
        raise ConfigError(
            f"eval_strategy={strategy!r}, but no comparison is held out; give --eval_dataset_name or a larger "
            "--test_split_size, or leave eval_strategy out"
        )
    if config.device.type == "cpu":
        config.dataloader_pin_memory = False
    try:
        trainer = RewardTrainer(
            args=config,
            train_dataset=data.train,
            eval_dataset=data.held_out or None,
            callbacks=[] if config.disable_tqdm else [TrainingProgress()],
            **parts,
        )
    except RewardsmithError:
        raise
    except (OSError, ImportError, ValueError, TypeError, RuntimeError) as error:
        # Other packages check the rest of the settings here, each with an error of its own.
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"training cannot start with these settings: {reason}") from error
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _train(trainer: RewardTrainer, config: RewardConfig) -> int:
    """Train, from a checkpoint when asked to. Returns the step from which it went on."""
    resume: Any = config.resume_from_checkpoint
    folder = str(config.output_dir)
    if resume in (None, False, "", "False", "false"):
        trainer.train()
        return 0
    if resume in (True, "True", "true", "last"):
        resume = get_last_checkpoint(folder) if Path(folder).is_dir() else None
        if resume is None:
            raise CheckpointError(f"no checkpoint in {folder}; leave --resume_from_checkpoint out to start")
    elif not Path(str(resume)).is_dir():
        raise CheckpointError(f"no checkpoint at {resume}; name a checkpoint-N folder, or 'true' for the last one")
    trainer.train(resume_from_checkpoint=str(resume))
    return (
        int(str(resume).rstrip("/").rsplit("-", 1)[-1]) if str(resume).rstrip("/").rsplit("-", 1)[-1].isdigit() else 0
    )


def score_held_out(trainer: RewardTrainer, groups: list[PreferenceGroup]) -> tuple[HeldOutResult, list[str]]:
    """Score every held-out completion that the model can read, also those longer than the training limit.

    Returns what the labels say of the rewards, and a note on the comparisons that were left out.
    """
    model: Any = trainer.model
    limit = fixed_positions(core_model(model).config.get_text_config()) or math.inf
    renderer = trainer.encoder.renderer
    encoded, kept, left_out = [], [], 0
    for group in groups:
        rows = [
            list(c)
            if isinstance(c, TokenIds)
            else renderer.encode(group.prompt, c, group.tools, group.chat_template_kwargs)
            for c in group.completions
        ]
        edges = [e for e in group.comparisons if max(len(rows[e.better]), len(rows[e.worse])) <= limit]
        left_out += len(group.comparisons) - len(edges)
        if edges or not group.comparisons:
            kept.append(replace(group, comparisons=tuple(edges)))
            # No comparison asks for a row that is too long; its first tokens keep the place.
            encoded.append([row if len(row) <= limit else row[:1] for row in rows])
    rewards = compute_rewards(model, encoded, TOKENS_PER_FORWARD, plan=trainer.plan)
    note = f"held-out: {left_out} comparisons left out, a side is longer than the {limit} tokens that the model reads"
    return evaluate_held_out(kept, rewards), [note] if left_out else []


def measure_speed(trainer: RewardTrainer, seconds: float, steps_before: int) -> Speed:
    """Give rates over the whole of `train()`, evaluations and checkpoints included."""
    state, rows = trainer.state, trainer.train_dataset
    columns: Any = rows if isinstance(rows, Dataset) else {"ids": [], "better": []}
    epochs = (state.epoch or 0.0) * (state.global_step - steps_before) / max(1, state.global_step)
    comparisons = sum(len(better) for better in columns["better"])
    distinct = sum(trainer.plan.cost(ids) for ids in columns["ids"])
    logical = sum(tokens_of_pairs(row) for row in rows) if isinstance(rows, Dataset) else 0
    saving = logical / distinct if distinct else math.nan
    return Speed(comparisons * epochs / seconds, distinct * epochs / seconds, saving)


def quiet_other_packages() -> None:
    """Show our own notes on stderr and keep other packages' bars and notes away."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("rewardsmith").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated", category=FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
