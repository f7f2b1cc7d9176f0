"""One run: from a model, settings and data to a saved model and its held-out result; or several that are one ensemble.

Each model of an ensemble has a seed and a bootstrap of the prompts of its own.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback

from rewardsmith.data import training_record
from rewardsmith.errors import ConfigError, RewardsmithError, ScoringError, TooLongError, one_line
from rewardsmith.evaluation.rated import measure_ratings
from rewardsmith.evaluation.steps import StepResult
from rewardsmith.evaluation.verdict import HeldOutResult, evaluate_held_out
from rewardsmith.models.attribute_head import attributes_of
from rewardsmith.models.contract import FILE_NAME as CONTRACT
from rewardsmith.models.contract import RECORD
from rewardsmith.models.foreign.folder import write_members
from rewardsmith.models.rendering import Composed
from rewardsmith.models.shared_prefix.exactness import fixed_positions
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.plan import compute_columns
from rewardsmith.records import Completion, PreferenceGroup, ScoreRequest, Text
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.scoring.scorer import fit_completions
from rewardsmith.scoring.truncation import fit_dialogues, truncated
from rewardsmith.training import hub
from rewardsmith.training.checkpoints import asked_checkpoint, last_whole
from rewardsmith.training.collator import tokens_of_pairs
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.data import TrainingData
from rewardsmith.training.frozen import SweepRow
from rewardsmith.training.publishing import trained_before
from rewardsmith.training.record import RunSummary, Speed, TrainingProgress, read_sweep, write_record
from rewardsmith.training.steps.held_out import measure_held_out
from rewardsmith.training.steps.settings import STEPS
from rewardsmith.training.steps.trainer import PRMTrainer
from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)
TOKENS_PER_FORWARD = 8192


def train_run(
    parts: dict[str, Any],
    config: RewardConfig,
    data: TrainingData,
    names: tuple[str, str],
    model_settings: dict[str, Any],
) -> RunSummary:
    """Train on `data`, save the model, score the held-out groups, and write `run.json`.

    Args:
        parts: `model` and what else of the trainer's arguments concerns it.
        names: of the model and of the data, for the report.
    """
    known = notes_on_known(model_settings.get("model_name_or_path"), data.held_out)
    for note in known:
        print(note, file=sys.stderr)
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
    # What goes to the hub goes with its report, so the push waits for that.
    trainer.save_here(Path(str(config.output_dir)))
    trainer.save_state()
    judges_steps = trainer.steps is not None
    rows = HeldOutRows([], [], []) if judges_steps else encode_held_out(trainer, data.held_out)
    for note in rows.notes:
        print(note, file=sys.stderr)
    summary = RunSummary(
        folder=Path(str(config.output_dir)),
        model_name=names[0],
        data_name=names[1],
        held_out=_measured(trainer, rows, data.held_out) if data.held_out else None,
        sweep=_swept(trainer, rows),
        speed=measure_speed(trainer, seconds, steps_before),
        settings={"reward": config.to_dict(), "model": model_settings},
        text_fingerprint=data.text_fingerprint(),
        notes=[
            *data.notes,
            *known,
            *(f"{name}: {report}" for name, report in trainer.encoding_reports.items()),
            *rows.notes,
        ],
        history=trainer.state.log_history,
    )
    if trainer.is_world_process_zero():
        write_record(summary)
    return summary


def _measured(
    trainer: RewardTrainer, rows: HeldOutRows, groups: list[PreferenceGroup]
) -> HeldOutResult | StepResult | None:
    return score_held_out(trainer, rows) if trainer.steps is None else measure_held_out(trainer, groups)


def _swept(trainer: RewardTrainer, rows: HeldOutRows) -> list[SweepRow]:
    """Return what was tried; of a finished run, of which nothing was fitted anew, what its record says."""
    if trainer.frozen is not None:
        return trainer.frozen.held_out(core_model(trainer.model), rows.groups, rows.ids)
    return read_sweep(Path(str(trainer.args.output_dir))) if trainer.fitted is not None else []


def notes_on_known(model: str | None, held_out: list[PreferenceGroup]) -> list[str]:
    """Say how many held-out prompts the model that training starts from has been trained on, as far as it says."""
    record = trained_before(model)
    count = sum(record.has_prompt(group) is True for group in held_out) if record is not None else 0
    if not count:
        return []
    return [
        f"held-out: {model} was trained on {count} of {len(held_out)} prompts already, so the accuracy is not that of "
        "new prompts; name others with --eval_dataset_name"
    ]


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
        kind = PRMTrainer if config.loss_type == STEPS else RewardTrainer
        trainer = kind(
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
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    return trainer.first_step


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out groups with the comparisons that the model can read, their token ids, and what was cut or left out."""

    groups: list[PreferenceGroup]
    ids: list[list[list[int]]]
    notes: list[str]


def score_held_out(trainer: RewardTrainer, rows: HeldOutRows) -> HeldOutResult:
    """Return what the labels say of the model's rewards."""
    columns = compute_columns(trainer.model, rows.ids, TOKENS_PER_FORWARD, plan=trainer.plan)
    result = evaluate_held_out(rows.groups, [[text[0] for text in row] for row in columns])
    names = [one.name for one in attributes_of(trainer.model)]
    given = [[dict(zip(names, text[1:], strict=False)) for text in row] for row in columns]
    return replace(result, ratings=measure_ratings(rows.groups, given)) if names else result


def encode_held_out(trainer: RewardTrainer, groups: list[PreferenceGroup]) -> HeldOutRows:
    """Encode every held-out completion that the model can read, also those longer than the training limit.

    A model that was trained on cut prompts is measured on cut prompts, as every command scores with it.
    """
    limit = fixed_positions(core_model(trainer.model).config.get_text_config())
    encoded, kept, left_out, cut = [], [], 0, 0
    for group in groups:
        rows, is_cut = _encode_held_out(trainer, group, limit)
        cut += is_cut
        fits = [row is not None for row in rows]
        edges = [e for e in group.comparisons if fits[e.better] and fits[e.worse]]
        left_out += len(group.comparisons) - len(edges)
        if edges or not group.comparisons:
            ratings = {
                name: tuple(score if fit else None for score, fit in zip(scores, fits, strict=True))
                for name, scores in group.ratings.items()
            }
            kept.append(replace(group, comparisons=tuple(edges), ratings=ratings))
            # No label asks for a row that is too long; one token keeps the place.
            encoded.append([row or [0] for row in rows])
    notes = {
        f"held-out: prompts of {cut} groups cut at their start to fit the {limit} tokens that the model reads": cut,
        f"held-out: {left_out} comparisons left out, a side is longer than the {limit} tokens that the model reads": (
            left_out
        ),
    }
    return HeldOutRows(kept, encoded, [note for note, count in notes.items() if count])


def _encode_held_out(
    trainer: RewardTrainer, group: PreferenceGroup, limit: int | None
) -> tuple[list[list[int] | None], bool]:
    """Return the ids of a group's completions as scoring fits them, and whether a prompt was cut.

    What is too long is None here, where scoring refuses the request.
    """
    renderer, options = trainer.encoder.renderer, (group.tools, group.chat_template_kwargs)
    cuts = trainer.encoder.overflow == "truncate_prompt" and limit is not None
    rows: list[list[int] | None] = []
    texts, is_cut = renderer.compose_all(group), False
    for completion, text in zip(group.completions, texts, strict=True):

        def encode(prompt: Text, answer: Completion, whole: Composed = text) -> list[int]:
            composed = whole if prompt == group.prompt else renderer.compose(prompt, answer, *options)
            return renderer.ids(composed, limit)

        how = truncated if cuts and group.prompt and text.text is not None else None
        try:
            fitted = fit_completions(encode, ScoreRequest(group.prompt, (completion,)), limit, how)
        except TooLongError:
            rows.append(None)
        else:
            rows += fitted.sequences
            is_cut |= any(fitted.cut)
    if cuts and not group.prompt and None in rows:
        with contextlib.suppress(ScoringError):
            rows, is_cut = list(fit_dialogues(renderer, texts, limit or 0).sequences), True
    return rows, is_cut


def measure_speed(trainer: RewardTrainer, seconds: float, steps_before: int) -> Speed:
    """Return rates over the whole of `train()`, evaluations and checkpoints included."""
    state, rows, stream, size = trainer.state, trainer.train_dataset, trainer.stream, trainer.args.world_size
    if stream is not None:
        saving = stream.logical_tokens / stream.distinct_tokens if stream.distinct_tokens else math.nan
        return Speed(stream.comparisons / seconds, stream.distinct_tokens / seconds, saving, size)
    if trainer.steps is not None:
        columns: Any = {"ids": rows["ids"], "better": rows["label"]}
    else:
        columns = rows if isinstance(rows, Dataset) else {"ids": [], "better": []}
    epochs = (state.epoch or 0.0) * (state.global_step - steps_before) / max(1, state.global_step)
    comparisons = sum(len(better) for better in columns["better"])
    distinct = sum(trainer.plan.cost(ids) for ids in columns["ids"])
    if trainer.steps is not None:
        logical = sum(len(ids) for group in rows["ids"] for ids in group)
    else:
        logical = sum(tokens_of_pairs(row) for row in rows) if isinstance(rows, Dataset) else 0
    saving = logical / distinct if distinct else math.nan
    return Speed(comparisons * epochs / seconds, distinct * epochs / seconds, saving, size)


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
    if config.push_to_hub:
        hub.open_repository(config)
    folder = Path(str(config.output_dir))
    members = [f"member-{number}" for number in range(1, config.ensemble + 1)]
    summaries = [
        train_run(make_parts(own), own, data, names, dict(model_settings))
        for number, name in enumerate(members)
        if (own := _member_config(config, folder / name, number)) is not None
    ]
    # Members draw from the same prompts, so the record of one serves all.
    for source in (folder / members[0]).glob(training_record.FILE_NAME):
        shutil.copyfile(source, folder / source.name)
    write_members(folder, members)
    if not summaries:
        logger.warning("%s holds all %d members: nothing more is trained", folder, config.ensemble)
        # What they logged is in their own records, where they came to one; they are measured and written down anew.
        found = folder / members[-1] / RECORD
        record = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else {"history": []}
        nothing = Speed(0.0, 0.0, math.nan)
        settings, text = {"reward": config.to_dict()}, data.text_fingerprint()
        summaries = [RunSummary(folder, *names, None, nothing, settings, text, data.notes, record["history"])]
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
    own.push_to_hub = False
    if config.freeze_backbone:
        # All members read the features of one backbone.
        own.feature_cache = config.feature_cache or f"{config.output_dir}-features"
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
