"""The folder of a trained model: written aside, checked in a fresh process, then put in place as a whole."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.data import training_record
from rewardsmith.data.detecting import parse_row
from rewardsmith.errors import CheckpointError, DataError, one_line
from rewardsmith.files.writing import sync_tree
from rewardsmith.models import checkpoint
from rewardsmith.models.contract import FILE_NAME as CONTRACT
from rewardsmith.models.foreign.folder import ADAPTER
from rewardsmith.models.golden import full_precision
from rewardsmith.models.hub import MERGED, WEIGHTS
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.plan import ForwardPlan, compute_columns
from rewardsmith.models.steps import StepRule, TokenJudge
from rewardsmith.models.wide_head import LAPLACE_FILE, num_heads
from rewardsmith.models.zero3 import whole_models
from rewardsmith.records import PreferenceGroup, fingerprint
from rewardsmith.scoring.exporting import ExportOptions, export_model
from rewardsmith.training.checkpoints import STAGING, removed_unless_written
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import FEATURES, fingerprint_sequences
from rewardsmith.training.hub import token_apart
from rewardsmith.training.processes import shards_weights, whole_root, whole_weights
from rewardsmith.training.steps.encoding import solutions_of
from rewardsmith.training.streams import STREAMS, EncodedStream

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)

# Where a model goes that was trained but does not pass its check.
UNVERIFIED = "unverified-model"
# Below, the copy costs little beside training.
MERGED_BELOW = 2_000_000_000
# Numbers, blanks, lines, marks and a composed letter: what tokenizers split and fold differently.
TELLING = "In 1969, at 20:17:\n\n  - It's the cafe\u0301 (NO. 3)!\n"
# Enough groups for a mean and a standard deviation, few enough to cost little beside training.
STATISTICS_GROUPS = 256


@dataclass(frozen=True)
class FinalModel:
    """What the folder of a model says beside its weights.

    Args:
        rows: what was trained on, as it was given; read once more, for its hashes.
        encoded: the same as token ids.
        overflow: what happened to rows that were too long.
        objective: what the objective has learned.
        args: say whether the saved model is verified, may bring code, and is written merged as well.
        whole: holds sharded weights together that the model's own forward does not gather.
        steps: how steps are written, for a model that judges them.
    """

    core: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    plan: ForwardPlan
    rows: Iterable[object]
    encoded: object
    max_length: int | None
    overflow: str
    objective: Mapping[str, Any]
    args: RewardConfig
    whole: Callable[[], AbstractContextManager[None]] = nullcontext
    steps: StepRule | None = None

    @classmethod
    def of(cls, trainer: RewardTrainer) -> FinalModel:
        """Return what a trainer has to say about the model that it holds."""
        return cls(
            core=core_model(trainer.model),
            tokenizer=trainer.encoder.renderer.tokenizer,
            plan=trainer.plan,
            rows=trainer.training_rows,
            encoded=trainer.train_dataset,
            max_length=trainer.encoder.max_length,
            overflow=trainer.encoder.overflow,
            objective=trainer.objective_state(),
            args=trainer.args,
            whole=partial(whole_root, trainer.model),
            steps=trainer.steps,
        )


def save_complete(trainer: RewardTrainer, folder: str, save: Callable[[], None]) -> None:
    """Have `save` write the model's own files, with what other tools read and how its rewards are computed beside."""
    core, args, encoder = core_model(trainer.model), trainer.args, trainer.encoder
    checkpoint.prepare_config(core, trainer.processing_class)
    with token_apart(args):
        save()
    checkpoint.complete_folder(folder, core, trainer.processing_class)
    if args.should_save:
        steps = None if trainer.steps is None else trainer.steps.to_dict()
        rule = {"max_length": encoder.max_length, "overflow": encoder.overflow, "steps": steps}
        checkpoint.write_rule(folder, core, encoder.renderer, rule)


def save_whole(trainer: RewardTrainer, folder: Path, save: Callable[[str], None]) -> None:
    """Write a trainer's model aside, check it in a fresh process and put it into `folder`; every process takes part.

    Args:
        save: writes the model's own files into the folder that it is given.

    Raises:
        CheckpointError: see `seal`.
    """
    staging = folder / STAGING
    if trainer.args.should_save:
        shutil.rmtree(staging, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    with whole_weights(trainer.accelerator), removed_unless_written(staging, folder):
        save(str(staging))
    if trainer.args.should_save:
        seal(FinalModel.of(trainer), staging, folder)
    elif shards_weights(trainer.accelerator):
        follow(FinalModel.of(trainer))
    trainer.saved_in = folder
    trainer.accelerator.wait_for_everyone()


def seal(final: FinalModel, staging: Path, folder: Path) -> None:
    """Write hashes and contract beside the weights in `staging`, check them, and put them into `folder`.

    Raises:
        CheckpointError: the saved model does not give the rewards of the one in memory. It is kept aside.
    """
    if not any(WEIGHTS.fullmatch(path.name) for path in staging.iterdir()):
        raise CheckpointError(
            f"no weights were written for {folder}: each process holds a shard only; set state_dict_type to "
            "FULL_STATE_DICT, or merge the last checkpoint with `accelerate merge-weights`"
        )
    try:
        warn_of_other_tokens(final.tokenizer, staging, final.args.trust_remote_code)
        record_training_data(final.rows, staging, trained_before(final.core.name_or_path))
        _write_contract(final, staging)
        if final.args.verify_saved_model:
            checkpoint.verify_in_fresh_process(staging, trust_remote_code=final.args.trust_remote_code)
    except Exception as error:
        # Whatever fails beside the weights, a full disk or rows that are gone, does not cost them.
        kept = set_aside(staging, folder)
        remedy = ", or save with verify_saved_model=False" if isinstance(error, CheckpointError) else ""
        raise CheckpointError(
            f"{one_line(error, 600).replace(str(staging), str(kept))}; nothing is lost: the trained weights are in "
            f"{kept}, and {folder} is as it was. See `rewardsmith doctor {kept}`{remedy}"
        ) from error
    if (staging / ADAPTER).is_file():
        _write_merged(final, staging, folder)
    publish(staging, folder)


def follow(final: FinalModel) -> None:
    """Take part in the forward passes of `seal` as another process of a sharded model, and write nothing."""
    with TemporaryDirectory() as aside:
        _write_contract(final, Path(aside))


def _write_contract(final: FinalModel, folder: Path) -> None:
    with final.whole():
        with full_precision(final.core):
            statistics = reward_statistics(final.core, final.encoded, final.plan, final.steps)
        fields = {
            **statistics,
            "max_length": final.max_length,
            "overflow": final.overflow,
            "data_fingerprint": fingerprint(fingerprint_sequences(final.encoded)),
            "objective": dict(final.objective),
            "steps": None if final.steps is None else final.steps.to_dict(),
        }
        checkpoint.write_contract(folder, final.core, final.tokenizer, fields, final.plan, verify=False)


def _write_merged(final: FinalModel, staging: Path, folder: Path) -> None:
    """Write the merged model of an adapter beside it, where that is wanted, and say what loads what."""
    small = sum(p.numel() for p in final.core.parameters()) < MERGED_BELOW
    # Quantised weights cannot be merged without loss.
    wanted = final.args.save_merged
    is_wanted = small and final.args.verify_saved_model if wanted is None else wanted
    if not is_wanted or getattr(final.core, "is_quantized", False):
        logger.warning(
            "%s is an adapter: RewardModel, vLLM and PEFT load it; for `pipeline` and for trainers that load a reward "
            "model by path, merge it: rewardsmith export %s %s",
            folder,
            folder,
            folder / MERGED,
        )
        return
    options = ExportOptions(trust_remote_code=final.args.trust_remote_code, verify=False)
    try:
        with whole_models():
            export_model(str(staging), staging / MERGED, options)
    except Exception as error:
        # The adapter itself is whole and checked; what is beside it must not cost it.
        shutil.rmtree(staging / MERGED, ignore_errors=True)
        logger.warning("the merged model was not written: %s", one_line(error, 400))
        return
    logger.info("%s holds the adapter; %s the merged model, for tools without PEFT", folder, folder / MERGED)


def publish(staging: Path, folder: Path) -> None:
    """Move a saved model into its folder so that old and new files are never taken for one model.

    The old contract goes first and the old weights next, the new contract comes last: a folder that is caught in
    between has no weights or no contract, never the contract of other weights.
    """
    sync_tree(staging)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONTRACT).unlink(missing_ok=True)
    (folder / LAPLACE_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / MERGED, ignore_errors=True)
    for path in folder.iterdir():
        if path.is_file() and WEIGHTS.fullmatch(path.name):
            path.unlink()
    files = sorted(path for path in staging.iterdir() if path.name != CONTRACT)
    for path in [*files, *staging.glob(CONTRACT)]:
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    sync_tree(folder, recursive=False)
    staging.rmdir()


def set_aside(staging: Path, folder: Path) -> Path:
    """Keep a model that did not pass its check beside the run, under a name that says so."""
    kept = folder / UNVERIFIED
    shutil.rmtree(kept, ignore_errors=True)
    os.replace(staging, kept)
    return kept


def warn_of_other_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path, trust_remote_code: bool = False) -> None:
    """Log where transformers loads the saved tokenizer as one that splits a telling text otherwise.

    For some architectures it takes the class of that architecture, whatever class is saved (Qwen2's for Qwen2).
    """
    try:
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError):
        # The check in a fresh process says so.
        return
    if loaded(TELLING)["input_ids"] != tokenizer(TELLING)["input_ids"]:
        logger.warning(
            "transformers loads the tokenizer of %s as a %s, which splits numbers, lines or marks otherwise than the "
            "one that was trained with: rewards of such texts differ; train with what AutoTokenizer loads there",
            folder.parent,
            type(loaded).__name__,
        )


def trained_before(name: str | None) -> training_record.TrainingRecord | None:
    """Return what the model of a folder was trained on, as it says itself; of a checkpoint, what its run says.

    Raises:
        CheckpointError: its record cannot be read.
    """
    if not name or not Path(name).is_dir():
        return None
    folder = Path(name).resolve()
    found = training_record.read_training_record(folder)
    if found is None and folder.name.startswith("checkpoint-"):
        found = training_record.read_training_record(folder.parent)
    return found


def record_training_data(
    rows: Iterable[object], folder: str | Path, before: training_record.TrainingRecord | None = None
) -> None:
    """Write hashes of the training data beside the model, so that it can be found in evaluation data later.

    `before` is what the model was trained on already: it is in the weights, so it stays in the record.
    A stream cannot be read again and encoded rows hold no text: then no record is written, and none left behind.
    """
    (Path(folder) / training_record.FILE_NAME).unlink(missing_ok=True)
    is_encoded = isinstance(rows, Dataset) and set(FEATURES) <= set(rows.column_names)
    if is_encoded or isinstance(rows, STREAMS):
        return
    record = training_record.TrainingRecord.of_groups(_readable(rows))
    if record.groups:
        (record if before is None else record.after(before)).save(folder)


def _readable(rows: Iterable[Any]) -> Iterator[PreferenceGroup]:
    """Yield the groups of rows; a row that could not be read was left out of training, too, and counted there."""
    for number, row in enumerate(rows):
        try:
            yield row if isinstance(row, PreferenceGroup) else parse_row(row, f"train row {number}")
        except DataError:
            continue


def reward_statistics(
    model: PreTrainedModel, dataset: object, plan: ForwardPlan, steps: StepRule | None = None
) -> dict[str, Any]:
    """Return mean and standard deviation of rewards over the first training groups, and how many sequences they are.

    Of an ensemble also the mean of each head, as comparisons leave the zero of each head open; of a step model those of
    the least score of each solution.
    """
    if not isinstance(dataset, Dataset | EncodedStream) or "ids" not in (dataset.column_names or []):
        return {"reward_mean": None, "reward_std": None, "reward_n": 0}
    rows = [row for _, row in zip(range(STATISTICS_GROUPS), dataset, strict=False)]
    if steps is None:
        found = compute_columns(model, [row["ids"] for row in rows], plan=plan)
    else:
        readings = TokenJudge(steps, "min", plan).read_groups(model, list(map(solutions_of, rows)), 8192)
        found = [[[reading.reward] for reading in row] for row in readings]
    columns = torch.tensor([text for row in found for text in row])
    rewards, heads = columns[:, 0], columns[:, 1:].double().mean(0).tolist() if num_heads(model) > 1 else []
    std = float(rewards.std()) if len(rewards) > 1 else None
    return {"reward_mean": float(rewards.mean()), "reward_std": std, "reward_n": len(rewards), "head_means": heads}
