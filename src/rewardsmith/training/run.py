"""One run: from a model, settings and data to a saved model, its held-out result and its record, run.json."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState, TrainingArguments

from rewardsmith.errors import ConfigError, RewardsmithError, ScoringError, TooLongError
from rewardsmith.evaluation.verdict import HeldOutResult, evaluate_held_out
from rewardsmith.files.progress import ProgressBar
from rewardsmith.models.rendering import Composed
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.inference import compute_rewards
from rewardsmith.models.shared_prefix.plan import fixed_positions
from rewardsmith.records import Completion, PreferenceGroup, Text, TokenIds
from rewardsmith.scoring.truncation import fit_dialogues, truncate_prompt
from rewardsmith.training.collator import tokens_of_pairs
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.data import TrainingData
from rewardsmith.training.frozen import SweepRow
from rewardsmith.training.trainer import RewardTrainer

TOKENS_PER_FORWARD = 8192
SHOWN = ("loss", "accuracy", "margin", "eval_loss", "eval_accuracy")


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
    rows = encode_held_out(trainer, data.held_out)
    for note in rows.notes:
        print(note, file=sys.stderr)
    summary = RunSummary(
        folder=Path(str(config.output_dir)),
        model_name=names[0],
        data_name=names[1],
        held_out=score_held_out(trainer, rows) if data.held_out else None,
        sweep=trainer.frozen.held_out(core_model(trainer.model), rows.groups, rows.ids) if trainer.frozen else [],
        speed=measure_speed(trainer, seconds, steps_before),
        settings={"reward": config.to_dict(), "model": model_settings},
        text_fingerprint=data.text_fingerprint(),
        notes=[
            *data.notes,
            *(f"{name}: {report}" for name, report in trainer.encoding_reports.items()),
            *rows.notes,
        ],
        history=trainer.state.log_history,
    )
    if trainer.is_world_process_zero():
        write_record(summary)
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
    return evaluate_held_out(
        rows.groups, compute_rewards(trainer.model, rows.ids, TOKENS_PER_FORWARD, plan=trainer.plan)
    )


def encode_held_out(trainer: RewardTrainer, groups: list[PreferenceGroup]) -> HeldOutRows:
    """Encode every held-out completion that the model can read, also those longer than the training limit.

    A model that was trained on cut prompts is measured on cut prompts, as every command scores with it.
    """
    limit = fixed_positions(core_model(trainer.model).config.get_text_config()) or math.inf
    encoded, kept, left_out, cut = [], [], 0, 0
    for group in groups:
        rows, is_cut = _encode_held_out(trainer, group, limit)
        cut += is_cut
        fits = [row is not None and len(row) <= limit for row in rows]
        edges = [e for e in group.comparisons if fits[e.better] and fits[e.worse]]
        left_out += len(group.comparisons) - len(edges)
        if edges or not group.comparisons:
            kept.append(replace(group, comparisons=tuple(edges)))
            # No comparison asks for a row that is too long; one token keeps the place.
            encoded.append([row if fit and row else (row or [0])[:1] for row, fit in zip(rows, fits, strict=True)])
    notes = {
        f"held-out: prompts of {cut} groups cut at their start to fit the {limit} tokens that the model reads": cut,
        f"held-out: {left_out} comparisons left out, a side is longer than the {limit} tokens that the model reads": (
            left_out
        ),
    }
    return HeldOutRows(kept, encoded, [note for note, count in notes.items() if count])


def _encode_held_out(
    trainer: RewardTrainer, group: PreferenceGroup, limit: float
) -> tuple[list[list[int] | None], bool]:
    """Return the ids of a group's completions, None of one that is certainly too long; and whether a prompt was cut."""
    renderer, options = trainer.encoder.renderer, (group.tools, group.chat_template_kwargs)
    most, cuts = None if limit == math.inf else int(limit), trainer.encoder.overflow == "truncate_prompt"
    rows: list[list[int] | None] = []
    texts, is_cut = [], False
    for completion in group.completions:
        given = completion if isinstance(completion, TokenIds) else None
        text = renderer.compose(group.prompt, completion, *options)
        texts.append(text if given is None else Composed("", None, given))

        def encode(prompt: Text, answer: Completion = completion) -> list[int]:
            return renderer.ids(renderer.compose(prompt, answer, *options), most)

        ids: list[int] | None = None
        with contextlib.suppress(TooLongError):
            ids = renderer.ids(texts[-1], most)
        if (ids is None or len(ids) > limit) and cuts and group.prompt and given is None:
            with contextlib.suppress(ScoringError):
                ids, is_cut = truncate_prompt(encode, group.prompt, completion, int(limit)), True
        rows.append(ids)
    if cuts and not group.prompt and any(ids is None or len(ids) > limit for ids in rows):
        with contextlib.suppress(ScoringError):
            rows, is_cut = list(fit_dialogues(renderer, texts, int(limit)).sequences), True
    return rows, is_cut


def measure_speed(trainer: RewardTrainer, seconds: float, steps_before: int) -> Speed:
    """Return rates over the whole of `train()`, evaluations and checkpoints included."""
    state, rows, stream = trainer.state, trainer.train_dataset, trainer.stream
    if stream is not None:
        saving = stream.logical_tokens / stream.distinct_tokens if stream.distinct_tokens else math.nan
        return Speed(stream.comparisons / seconds, stream.distinct_tokens / seconds, saving)
    columns: Any = rows if isinstance(rows, Dataset) else {"ids": [], "better": []}
    epochs = (state.epoch or 0.0) * (state.global_step - steps_before) / max(1, state.global_step)
    comparisons = sum(len(better) for better in columns["better"])
    distinct = sum(trainer.plan.cost(ids) for ids in columns["ids"])
    logical = sum(tokens_of_pairs(row) for row in rows) if isinstance(rows, Dataset) else 0
    saving = logical / distinct if distinct else math.nan
    return Speed(comparisons * epochs / seconds, distinct * epochs / seconds, saving)


class TrainingProgress(TrainerCallback):
    """Show steps, time left and the last metrics: a bar on a terminal, a line per log elsewhere."""

    def __init__(self, shown: Sequence[str] = SHOWN) -> None:
        self.shown = shown
        self._bar: ProgressBar | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: object, **kwargs: object) -> None:
        """Start at the step from which training goes on."""
        if not state.is_world_process_zero:
            return
        if not sys.stderr.isatty():
            print(f"training: {state.max_steps} steps", file=sys.stderr)
            return
        self._bar = ProgressBar("training", state.max_steps, "steps").__enter__()
        self._bar.update(state.global_step, reused=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: object, **kwargs: object) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: object,
        logs: Mapping[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show the metrics that say whether training works."""
        shown = "  ".join(f"{name} {logs[name]:.3f}" for name in self.shown if logs and name in logs)
        if not shown or not state.is_world_process_zero:
            return
        if self._bar is not None:
            self._bar.update(state.global_step, note=shown)
        else:
            print(f"step {state.global_step}/{state.max_steps}  {shown}", file=sys.stderr)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: object, **kwargs: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


RECORD = "run.json"
PACKAGES = ("rewardsmith", "torch", "transformers", "datasets", "tokenizers", "accelerate", "peft", "numpy")


@dataclass(frozen=True)
class Speed:
    """How fast the run was, over the steps of this process."""

    examples_per_second: float
    distinct_tokens_per_second: float
    saving: float


@dataclass(frozen=True)
class RunSummary:
    """Everything that is reported about a run."""

    folder: Path
    model_name: str
    data_name: str
    held_out: HeldOutResult | None
    speed: Speed
    settings: Mapping[str, Any]
    text_fingerprint: str | None
    notes: Sequence[str]
    history: Sequence[Mapping[str, Any]]
    sweep: Sequence[SweepRow] = ()

    def __repr__(self) -> str:
        measured = "nothing held out" if self.held_out is None else f"held-out accuracy {self.held_out.accuracy}"
        return f"RunSummary({str(self.folder)!r}, {measured})"


def write_record(summary: RunSummary) -> Path:
    """Write `run.json` into the run's folder."""
    record = {
        "model": summary.model_name,
        "data": summary.data_name,
        "data_notes": summary.notes,
        "text_fingerprint": summary.text_fingerprint,
        "seed": summary.settings["reward"]["seed"],
        "held_out": None if summary.held_out is None else summary.held_out.to_dict(),
        "sweep": [row.to_dict() for row in summary.sweep],
        "speed": vars(summary.speed),
        "git_commit": git_commit(),
        "versions": versions(),
        "command": ["rewardsmith", *sys.argv[1:]],
        "settings": summary.settings,
        "history": summary.history,
    }
    path = summary.folder / RECORD
    path.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return path


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the working directory with `+changes` when files differ; None outside of a repository."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if status.strip() else "")
