"""Checkpoints that are whole, on the disk and of this run, or refused; a signal ends training with one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from rewardsmith.errors import CheckpointError, ConfigError, RewardsmithError, ScoringError, one_line
from rewardsmith.files.writing import sync_tree, write_json
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.damage import CHECKSUMS, IDENTITY, OBJECTIVE, checksums, damage
from rewardsmith.training.streams import EncodedStream

logger = logging.getLogger(__name__)

STAGING = ".staging"
# By these a folder is known to hold a run.
MARKS = ("run.json", "scoring_contract.json", "model.safetensors", "adapter_model.safetensors", "trainer_state.json")
# Settings that decide the weights beside data and model; the number of steps may be changed to go on longer.
SETTINGS = (
    *("loss_type", "ties", "label_smoothing", "center_rewards_coefficient", "l2_rewards_coefficient", "ranking_top_k"),
    *("attributes", "attribute_weights", "rating_loss", "rating_scale", "rating_loss_coefficient"),
    *("lm_loss_coefficient", "ensemble", "ensemble_kind", "ensemble_prior_scale", "bootstrap_prompts"),
    *("pooling", "merge_prompts", "tokens_per_batch", "max_length", "overflow", "disable_dropout", "bf16", "fp16"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "adam_beta1", "adam_beta2"),
    *("adam_epsilon", "max_grad_norm", "per_device_train_batch_size", "gradient_accumulation_steps", "seed"),
    *("data_seed", "train_sampling_strategy", "dataloader_drop_last", "neftune_noise_alpha", "shuffle_buffer"),
)
LENGTHS = ("num_train_epochs", "max_steps")
# Values of a frozen parameter that stand for all of it: another base differs nearly everywhere.
SAMPLED_VALUES = 256


def save_whole(
    trainer: Trainer,
    run_dir: str | Path,
    save: Callable[[], None],
    objective: Mapping[str, Any],
    identity: Mapping[str, Any],
) -> None:
    """Write a checkpoint aside and rename it once the disk holds it, so that a killed run leaves whole ones only.

    Args:
        save: writes `checkpoint-N` into the trainer's `_get_output_dir`, which is another folder meanwhile.
        objective: what the trainer knows beside the model, for `read_objective`.
        identity: of `run_identity`.

    Raises:
        CheckpointError: the disk did not take it; earlier checkpoints stay.
    """
    name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
    staging, final = Path(run_dir) / STAGING, Path(run_dir) / name
    if trainer.args.should_save:
        shutil.rmtree(staging, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    with removed_unless_written(staging, final):
        # An attribute of the trainer stands before the method of its class.
        vars(trainer)["_get_output_dir"] = lambda trial=None: str(staging)
        # A push from here would lose its files when they move.
        pushes, trainer.args.push_to_hub = trainer.args.push_to_hub, False
        try:
            save()
        finally:
            del vars(trainer)["_get_output_dir"]
            trainer.args.push_to_hub = pushes
        trainer.accelerator.wait_for_everyone()
        if trainer.state.best_global_step == trainer.state.global_step:
            trainer.state.best_model_checkpoint = str(final)
        if trainer.args.should_save:
            trainer.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
            write_json(staging / name / OBJECTIVE, objective)
            write_json(staging / name / IDENTITY, identity)
            write_json(staging / name / CHECKSUMS, checksums(staging / name))
            sync_tree(staging / name)
    if trainer.args.should_save:
        if final.exists():
            shutil.rmtree(final)
        os.replace(staging / name, final)
        sync_tree(final.parent, recursive=False)
        shutil.rmtree(staging, ignore_errors=True)
        if trainer.args.push_to_hub:
            trainer._push_from_checkpoint(str(final))
        rotate_checkpoints(
            output_dir=str(run_dir),
            save_total_limit=trainer.args.save_total_limit,
            best_model_checkpoint=trainer.state.best_model_checkpoint,
            use_mtime=True,
        )
    trainer.accelerator.wait_for_everyone()


@contextmanager
def removed_unless_written(staging: Path, final: Path) -> Iterator[None]:
    """Take away what a full disk left unfinished, and say in one line what stays.

    Raises:
        CheckpointError: the disk did not take what was written in the block.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RewardsmithError) or (
            isinstance(error, RuntimeError) and "write" not in str(error).lower()
        ):
            raise
        shutil.rmtree(staging, ignore_errors=True)
        last, _ = last_whole(staging.parent)
        kept = f"{last.name} stays, go on from it with resume_from_checkpoint" if last else "no checkpoint is there"
        raise CheckpointError(
            f"{final} could not be written ({one_line(error)}); make room on the disk: {kept}"
        ) from error


@contextmanager
def stopping_whole(trainer: Trainer) -> Iterator[None]:
    """Keep what a run has learned where its rewards fail: a checkpoint of the last step, named by the error.

    Before the first step there is nothing to keep but the place; a run whose server came back begins from it.
    """
    try:
        yield
    except ScoringError as error:
        name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
        trainer._save_checkpoint(trainer.model, None)  # type: ignore[arg-type]
        raise type(error)(
            f"{error}; {name} in {trainer.args.output_dir} holds the run: go on with resume_from_checkpoint"
        ) from error


def last_whole(run_dir: str | Path) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint of a run's folder, and what is wrong with newer ones."""
    found = [
        path
        for path in Path(run_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if path.is_dir() and path.name.split("-")[-1].isdecimal()
    ]
    damaged: list[str] = []
    for path in sorted(found, key=lambda path: int(path.name.split("-")[-1]), reverse=True):
        reason = damage(path)
        if reason is None:
            return path, damaged
        damaged.append(f"{path.name} is damaged ({reason})")
    return None, damaged


def asked_checkpoint(setting: str | bool | None) -> str | bool | None:
    """Return what `resume_from_checkpoint` asks for: a folder, True for the last checkpoint, or None to start.

    The command line and YAML give it as a word.
    """
    word = str(setting or "false").lower()
    return None if word == "false" else True if word in ("true", "last") else setting


def choose_checkpoint(asked: str | bool | None, run_dir: str) -> str | None:
    """Return the folder to go on from; None to start.

    Args:
        asked: a folder, True for the last whole one of `run_dir`, or nothing; also as a flag or a recipe words it.

    Raises:
        CheckpointError: none is whole, or the one that was named is not.
    """
    asked = asked_checkpoint(asked)
    if not asked:
        return None
    if asked is True:
        folder, damaged = last_whole(run_dir)
        if folder is None:
            why = "; ".join(damaged) or f"no checkpoint in {run_dir}"
            raise CheckpointError(f"{why}; leave resume_from_checkpoint out to start again")
        if damaged:
            logger.warning("%s: going on from %s, the last whole checkpoint", "; ".join(damaged), folder.name)
        return str(folder)
    if not Path(asked).is_dir():
        raise CheckpointError(f"no checkpoint at {asked}; name a checkpoint-N folder, or True for the last one")
    reason = damage(asked)
    if reason is not None:
        raise CheckpointError(f"{asked} is damaged ({reason}); name another, or True for the last whole one")
    return str(asked)


def saved_state(folder: str) -> TrainerState:
    """Return the state of Trainer in a checkpoint."""
    return TrainerState.load_from_json(str(Path(folder) / TRAINER_STATE_NAME))


def require_unused(run_dir: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a run, so that two never mix; `overwrite` removes its checkpoints.

    The model of the earlier run stays until that of the new one takes its place as a whole.
    """
    old = list(run_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*")) if run_dir.is_dir() else []
    marks = [path for name in MARKS if (path := run_dir / name).exists()]
    if not overwrite and (old or marks):
        raise ConfigError(
            f"output_dir {str(run_dir)!r} holds a run ({(marks or old)[0].name}): name another, go on with it "
            "(--resume_from_checkpoint true), or replace it (--overwrite_output_dir)"
        )
    for path in old:
        shutil.rmtree(path)


def run_identity(args: RewardConfig, model: nn.Module, dataset: object) -> dict[str, Any]:
    """Return what a checkpoint has to agree with to be of this run: digests of data and model, and the settings."""
    given = args.to_dict()
    settings = {name: given[name] for name in (*SETTINGS, *LENGTHS) if name in given}
    return {"data": fingerprint_rows(dataset), "model": fingerprint_model(model), "settings": settings}


def require_same_run(folder: str | Path, identity: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other data, another model or other settings; say when it cannot be told."""
    path = Path(folder) / IDENTITY
    if not path.is_file():
        logger.warning("%s does not say which data, model and settings it is of; it is taken as it is", folder)
        return
    saved = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(identity, default=str))
    remedy = "go on with what the run began with, or start a new one in another output_dir"
    for part in ("data", "model"):
        if saved.get(part) != now[part] and None not in (saved.get(part), now[part]):
            raise CheckpointError(
                f"{folder} was trained on other data; {remedy}"
                if part == "data"
                else f"{folder} is of another model; {remedy}"
            )
    before, after = saved.get("settings", {}), now["settings"]
    changed = [
        f"{name} was {before[name]}, is {after[name]}"
        for name in after
        if name in before and before[name] != after[name]
    ]
    # As many batches a step by another number of processes are the same steps.
    same_steps = saved.get("batches_per_step") == identity.get("batches_per_step", 0)
    free = (*LENGTHS, "gradient_accumulation_steps") if same_steps else LENGTHS
    other = [text for text in changed if not text.startswith(free)]
    changed = [text for text in changed if text.startswith(LENGTHS)]
    if other:
        raise CheckpointError(f"{folder} was trained with other settings ({'; '.join(other)}); {remedy}")
    if changed:
        logger.warning(
            "%s: the learning rate follows the new length, so weights differ from one long run", "; ".join(changed)
        )


def batches_per_step(folder: str | Path) -> int | None:
    """Return how many batches make an optimizer step of the run, over all processes; None where it is not said."""
    path = Path(folder) / IDENTITY
    return json.loads(path.read_text(encoding="utf-8")).get("batches_per_step") if path.is_file() else None


def fingerprint_rows(dataset: object) -> str | None:
    """Return a digest of the rows that are trained on, ids and labels; a stream knows its own, or None."""
    if isinstance(dataset, EncodedStream):
        return dataset.rows.fingerprint()
    if not isinstance(dataset, Dataset):
        return None
    digest = hashlib.sha256()
    for batch in dataset.with_format("arrow").iter(batch_size=1000):
        for name in sorted(batch.column_names):
            digest.update(name.encode())
            for values in _buffers(batch[name].combine_chunks()):
                digest.update(values)
    return digest.hexdigest()


def _buffers(values: pa.Array) -> Iterator[bytes]:
    """Yield the content of an array: the lengths of its lists, level by level, and the values."""
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        yield pc.list_value_length(values).to_numpy(zero_copy_only=False).tobytes()
        values = pc.list_flatten(values)
    if pa.types.is_primitive(values.type):
        yield values.to_numpy(zero_copy_only=False).tobytes()
    else:
        yield json.dumps(values.to_pylist(), default=str).encode()


def fingerprint_model(model: nn.Module) -> str:
    """Return a digest of what a checkpoint does not hold of its model: names, shapes, and values that stay frozen."""
    core = core_model(model)
    digest = hashlib.sha256(type(core).__name__.encode())
    digest.update(Path(str(getattr(core.config, "_name_or_path", ""))).name.encode())
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.requires_grad}".encode())
        if not parameter.requires_grad and parameter.numel():
            flat = parameter.detach().flatten()
            sample = flat[:: max(1, len(flat) // SAMPLED_VALUES)][:SAMPLED_VALUES]
            digest.update(sample.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_objective(folder: str | Path) -> dict[str, Any]:
    """Return what `save_whole` was given as `objective`; nothing for a checkpoint of another trainer."""
    path = Path(folder) / OBJECTIVE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


# A terminal that closes says SIGHUP; Windows has none.
CAUGHT = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal after its checkpoint was saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class StopOnSignal(TrainerCallback):
    """Save a checkpoint and stop at the end of the step in which a signal came."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._agreed: bool | None = None

    def agree(self, stop: bool) -> None:
        """Stop after this step on every process, or on none: one that saves alone would wait for ever."""
        self._agreed = stop
        if stop and self.number is None:
            self.number = signal.SIGTERM

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> TrainerControl:
        """Ask for the checkpoint and the end, once a signal has come."""
        if self._agreed or (self._agreed is None and self.number is not None):
            control.should_save = control.should_training_stop = True
        return control

    def raise_if_stopped(self, args: TrainingArguments, state: TrainerState) -> None:
        """Raise Interrupted when a signal ended training; it names the checkpoint."""
        if self.number is not None:
            number, self.number = self.number, None
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            raise Interrupted(
                f"stopped after step {state.global_step}; {name} in {args.output_dir} holds the run: go on with "
                "resume_from_checkpoint",
                number,
            )

    @contextmanager
    def listening(self, args: TrainingArguments) -> Iterator[None]:
        """Catch the signals in a block, where checkpoints are saved at all; a second one acts at once."""
        saves = getattr(args.save_strategy, "value", args.save_strategy) != "no"
        # Only the main thread can set handlers.
        if not saves or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in CAUGHT}
        # What nohup has the process ignore stays ignored.
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

        def caught(number: int, frame: FrameType | None) -> None:
            if self.number is None:
                self.number = number
                return
            signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)
            signal.raise_signal(number)

        for number in before:
            signal.signal(number, caught)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
