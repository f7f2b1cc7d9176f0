"""Checkpoints that are whole or absent, and what lies beside a model's weights: its data's hashes, its rewards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import nn
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from rewardsmith.data import training_record
from rewardsmith.data.detecting import parse_row
from rewardsmith.errors import DataError
from rewardsmith.models.shared_prefix.inference import compute_rewards
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.encoding import FEATURES

STAGING = ".staging"
# What the objective has learned and counted; the model's own files do not hold it.
OBJECTIVE = "objective.json"
# Enough groups for a mean and a standard deviation, few enough to cost little beside training.
STATISTICS_GROUPS = 256


def save_whole(
    trainer: Trainer, run_dir: str | Path, save: Callable[[str], None], objective: Mapping[str, Any]
) -> None:
    """Write a checkpoint aside and rename it, so that a killed run leaves whole checkpoints only.

    Args:
        save: writes `checkpoint-N` into the folder that it is given.
        objective: what the trainer knows beside the model, for `read_objective`.
    """
    name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
    staging, final = Path(run_dir) / STAGING, Path(run_dir) / name
    if trainer.args.should_save:
        shutil.rmtree(staging, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    save(str(staging))
    trainer.accelerator.wait_for_everyone()
    if trainer.state.best_global_step == trainer.state.global_step:
        trainer.state.best_model_checkpoint = str(final)
    if trainer.args.should_save:
        trainer.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
        (staging / name / OBJECTIVE).write_text(json.dumps(objective, indent=2) + "\n", encoding="utf-8")
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


def read_objective(folder: str | Path) -> dict[str, Any]:
    """Return what `save_whole` was given as `objective`; nothing for a checkpoint of another trainer."""
    path = Path(folder) / OBJECTIVE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


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


def _readable(rows: Iterable[Any]) -> Iterator[PreferenceGroup]:
    """Yield the groups of rows; a row that could not be read was left out of training, too, and counted there."""
    for number, row in enumerate(rows):
        try:
            yield row if isinstance(row, PreferenceGroup) else parse_row(row, f"train row {number}")
        except DataError:
            continue


def reward_statistics(model: nn.Module, dataset: Any, plan: ForwardPlan) -> dict[str, float | int | None]:
    """Return mean and standard deviation of rewards over the first training groups, and how many sequences they are."""
    if not hasattr(dataset, "column_names") or "ids" not in (dataset.column_names or []):
        return {"reward_mean": None, "reward_std": None, "reward_n": 0}
    groups = [row["ids"] for _, row in zip(range(STATISTICS_GROUPS), dataset, strict=False)]
    rewards = torch.tensor([r for row in compute_rewards(model, groups, plan=plan) for r in row])
    std = float(rewards.std()) if len(rewards) > 1 else None
    return {"reward_mean": float(rewards.mean()), "reward_std": std, "reward_n": len(rewards)}
