"""An ensemble of whole models: one run several times, each with a seed and a bootstrap of the prompts of its own."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewardsmith.data import training_record
from rewardsmith.errors import ConfigError, ScoringError, one_line
from rewardsmith.evaluation.verdict import HeldOutResult, evaluate_held_out
from rewardsmith.models.contract import FILE_NAME as CONTRACT
from rewardsmith.models.member_folders import write_members
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.training.checkpoints import asked_checkpoint, last_whole
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.data import TrainingData
from rewardsmith.training.run import RunSummary, train_run, write_record


def train_one_or_several(
    make_parts: Callable[[RewardConfig], dict[str, Any]],
    config: RewardConfig,
    data: TrainingData,
    names: tuple[str, str],
    model_settings: Mapping[str, Any],
) -> RunSummary:
    """Train what the settings ask for: one model, or several into folders inside `output_dir`, measured together.

    A run that is taken up again trains no member anew that is saved; `RewardModel` opens the folder as one ensemble.

    Args:
        make_parts: makes a model for a member's settings, new each time, so that new heads differ.
        names: of the model and of the data, for the report.

    Raises:
        ConfigError: several processes.
    """
    if config.ensemble == 1 or config.ensemble_kind == "heads":
        return train_run(make_parts(config), config, data, names, dict(model_settings))
    if config.world_size > 1:
        raise ConfigError("an ensemble of models is trained in one process; leave --nproc out, or take heads")
    folder = Path(str(config.output_dir))
    members = [f"member-{number}" for number in range(1, config.ensemble + 1)]
    summaries = [
        train_run(make_parts(own), own, data, names, dict(model_settings))
        for number, name in enumerate(members)
        if (own := _member_config(config, folder / name, number)) is not None
    ]
    for source in (folder / members[0]).glob(training_record.FILE_NAME):
        shutil.copyfile(source, folder / source.name)
    write_members(folder, members)
    if not summaries:
        raise ConfigError(f"{folder} holds all {config.ensemble} members; leave resume_from_checkpoint out")
    held_out, notes = _measure(folder, config, data.held_out)
    summary = replace(
        summaries[-1],
        folder=folder,
        held_out=held_out,
        settings={"reward": config.to_dict(), "model": dict(model_settings)},
        notes=[*summaries[-1].notes, f"the mean of {config.ensemble} models: {', '.join(members)}", *notes],
    )
    write_record(summary)
    return summary


def _member_config(config: RewardConfig, folder: Path, number: int) -> RewardConfig | None:
    """Return the settings of one member; None for one that an earlier run has saved."""
    resume = asked_checkpoint(config.resume_from_checkpoint) is not None
    if resume and (folder / CONTRACT).is_file():
        return None
    own = copy.copy(config)
    own.output_dir, own.ensemble, own.bootstrap_prompts = str(folder), 1, True
    own.seed, own.data_seed = config.seed + number, config.order_seed + number
    own.resume_from_checkpoint = "true" if resume and last_whole(folder)[0] is not None else None
    return own


def _measure(
    folder: Path, config: RewardConfig, groups: list[PreferenceGroup]
) -> tuple[HeldOutResult | None, list[str]]:
    """Return what held-out judgements say of the members together, and why nothing is said."""
    if not groups:
        return None, []
    truncation = "truncate_prompt" if config.overflow == "truncate_prompt" else None
    model = RewardModel.from_pretrained(str(folder), device=config.device, dtype="float32", truncation=truncation)
    requests = [ScoreRequest.of_group(g) for g in groups]
    try:
        return evaluate_held_out(groups, model.score_requests(requests)), []
    except ScoringError as error:
        return None, [f"held-out judgements were not scored: {one_line(error)}"]
