"""Checkpoints that are whole or absent, and the final model with its contract."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset, IterableDataset
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from rewardsmith.data import training_record
from rewardsmith.data.rows import parse_row
from rewardsmith.errors import DataError
from rewardsmith.models import checkpoint
from rewardsmith.models.shared_prefix.forward import compute_rewards, core_model
from rewardsmith.records import PreferenceGroup, fingerprint
from rewardsmith.training.preparation import FEATURES, fingerprint_sequences

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

STAGING = ".staging"
OBJECTIVE = "objective.json"
# Enough groups for a mean and a standard deviation, few enough to cost little beside training.
STATISTICS_GROUPS = 256


def output_dir(trainer: RewardTrainer, run_dir: str) -> str:
    """Give the folder that checkpoints go to: beside the run's while one is being written."""
    return os.path.join(run_dir, STAGING) if getattr(trainer, "_staging", False) else run_dir


def save_checkpoint_atomically(trainer: RewardTrainer, save: Callable[[], None]) -> None:
    """Write a checkpoint aside and rename it, so that a killed run leaves whole checkpoints only."""
    name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
    run_dir = Path(trainer._get_output_dir(trial=None))
    staging, final = run_dir / STAGING, run_dir / name
    if trainer.args.should_save:
        shutil.rmtree(staging, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer._staging = True
    try:
        save()
    finally:
        trainer._staging = False
    trainer.accelerator.wait_for_everyone()
    if trainer.state.best_global_step == trainer.state.global_step:
        trainer.state.best_model_checkpoint = str(final)
    if trainer.args.should_save:
        trainer.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
        _write_json(staging / name / OBJECTIVE, objective_state(trainer))
        if final.exists():
            shutil.rmtree(final)
        os.replace(staging / name, final)
        shutil.rmtree(staging, ignore_errors=True)
        rotate_checkpoints(
            output_dir=str(run_dir),
            save_total_limit=trainer.args.save_total_limit,
            best_model_checkpoint=trainer.state.best_model_checkpoint,
            use_mtime=True,
        )
    trainer.accelerator.wait_for_everyone()


def objective_state(trainer: RewardTrainer) -> dict[str, Any]:
    """Give what the objective has learned: the threshold of a tie model."""
    threshold = trainer.step_loss.threshold
    return {
        "loss_type": trainer.args.loss_type,
        "threshold": None if threshold is None else float(threshold.detach()),
        "num_tokens": trainer._num_tokens,
    }


def load_objective(trainer: RewardTrainer, folder: str) -> None:
    """Take up the threshold of a tie model from a checkpoint."""
    path = Path(folder) / OBJECTIVE
    if not path.is_file():
        return
    state = json.loads(path.read_text())
    trainer._num_tokens = int(state.get("num_tokens", 0))
    if trainer.step_loss.threshold is not None and state.get("threshold") is not None:
        with torch.no_grad():
            trainer.step_loss.threshold.fill_(state["threshold"])


def save_model(trainer: RewardTrainer, folder: str, state_dict: dict | None) -> None:
    """Write model and tokenizer in the standard layout."""
    checkpoint.prepare_config(core_model(trainer.model), trainer.processing_class)
    Trainer._save(trainer, folder, state_dict)
    checkpoint.complete_folder(folder, core_model(trainer.model), trainer.processing_class)


def finish(trainer: RewardTrainer, folder: str) -> None:
    """Write the training data's hashes and the scoring contract with golden texts, checked in a fresh process."""
    record_training_data(trainer.training_rows, folder)
    statistics = reward_statistics(trainer)
    fields = {
        **statistics,
        "max_length": trainer.encoder.max_length,
        "data_fingerprint": fingerprint(fingerprint_sequences(trainer.train_dataset)),
        "objective": objective_state(trainer),
    }
    checkpoint.write_contract(
        folder,
        core_model(trainer.model),
        trainer.processing_class,
        fields,
        trainer.plan,
        verify=trainer.args.verify_saved_model,
    )


def record_training_data(rows: Any, folder: str | Path) -> None:
    """Write hashes of the training data beside the model, so that it can be found in evaluation data later.

    A stream cannot be read again and encoded rows hold no text: then no record is written, and none left behind.
    """
    (Path(folder) / training_record.FILE_NAME).unlink(missing_ok=True)
    is_encoded = isinstance(rows, Dataset) and set(FEATURES) <= set(rows.column_names)
    if is_encoded or isinstance(rows, IterableDataset):
        return
    record = training_record.TrainingRecord.of_groups(_readable(rows))
    if record.groups:
        record.save(folder)


def _readable(rows: Any) -> Iterator[PreferenceGroup]:
    """Give the groups of rows; a row that could not be read was left out of training, too, and counted there."""
    for number, row in enumerate(rows):
        try:
            yield row if isinstance(row, PreferenceGroup) else parse_row(row, f"train row {number}")
        except DataError:
            continue


def reward_statistics(trainer: RewardTrainer) -> dict[str, float | int | None]:
    """Give mean and standard deviation of rewards over the first training groups, and how many sequences they are."""
    dataset = trainer.train_dataset
    if not hasattr(dataset, "column_names") or "ids" not in (dataset.column_names or []):
        return {"reward_mean": None, "reward_std": None, "reward_n": 0}
    groups = [row["ids"] for _, row in zip(range(STATISTICS_GROUPS), dataset, strict=False)]
    rewards = torch.tensor([r for row in compute_rewards(trainer.model, groups, plan=trainer.plan) for r in row])
    std = float(rewards.std()) if len(rewards) > 1 else None
    return {"reward_mean": float(rewards.mean()), "reward_std": std, "reward_n": len(rewards)}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
