"""Train the head alone, over features of the frozen backbone: to the optimum by L-BFGS, or in the usual steps.

Features are what the head reads of every distinct sequence, computed once and kept in Parquet files. A file holds a few
thousand rows: the hash of a sequence and its features in fp32. It is written whole or not at all, so an interrupted run
loses one file at most, and processes that share the work write files of their own.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
import uuid
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn
from transformers.trainer_utils import TrainOutput

from rewardsmith.errors import CheckpointError, ConfigError, one_line
from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.files.progress import ProgressBar
from rewardsmith.files.writing import replace_when_done
from rewardsmith.models.attribute_head import attributes_of
from rewardsmith.models.contract import pooling_of, read_contract
from rewardsmith.models.shared_prefix.forward import apply_head, core_model, reward_head
from rewardsmith.models.shared_prefix.packing import FeatureChunk, RewardBatch, Sequences
from rewardsmith.models.shared_prefix.plan import ForwardPlan, compute_features
from rewardsmith.records import Estimate, PreferenceGroup, fingerprint
from rewardsmith.training.checkpoints import LENGTHS, TRAINER_STATE_NAME, asked_checkpoint, saved_state
from rewardsmith.training.collator import PreferenceCollator, collate_labels, collator_for, tokens_of_pairs
from rewardsmith.training.encoding import FEATURES, is_encoded
from rewardsmith.training.head_fitting import LEFT_OUT, Problem, Tried
from rewardsmith.training.loss import StepLoss
from rewardsmith.training.ridge import PENALTY, penalties_of

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)

# Sequences of one file: at a width of 1,024 they are 16 MB.
ROWS_PER_FILE = 4096
KEY_BYTES = 16
TOKENS_PER_FORWARD = 8192
# Groups of sequences with their keys.
Window = list[list[tuple[bytes, Sequence[int]]]]
# Of a config, what says nothing about how hidden states are computed.
NOT_OF_THE_BACKBONE = ("transformers_version", "architectures", "id2label", "label2id", "problem_type", "torch_dtype")


@dataclass
class FrozenRun:
    """What a run with a frozen backbone did: its features, the settings that were tried, the one that was taken."""

    features: Features
    tried: list[Tried] = field(default_factory=list)
    chosen: Tried | None = None

    def held_out(self, core: nn.Module, groups: Sequence[PreferenceGroup], ids: Sequence[Sequences]) -> list[SweepRow]:
        """Return every setting that was tried with its accuracy on held-out groups."""
        if not self.tried:
            return []
        features = self.features.store.gather(ids)
        rows = []
        for tried in self.tried:
            head = copy.deepcopy(reward_head(core)).float().cpu()  # type: ignore[arg-type]
            head.load_state_dict(tried.head)
            with torch.no_grad():
                values = iter(apply_head(head, features.table_UD)[features.row_B].tolist())
            accuracy = evaluate_held_out(groups, [[next(values) for _ in group] for group in ids]).accuracy
            is_chosen = self.chosen is not None and (tried.loss_type, tried.l2) == (
                self.chosen.loss_type,
                self.chosen.l2,
            )
            rows.append(SweepRow(tried.loss_type, tried.l2, tried.merit, accuracy, tried.seconds, is_chosen))
        return rows


@dataclass(frozen=True)
class SweepRow:
    """A setting, its merit on the training groups that were left out, and its accuracy on the held-out ones."""

    loss_type: str
    l2: float
    left_out: float
    held_out: Estimate
    seconds: float
    is_chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "held_out": self.held_out.to_dict()}


def train_head(trainer: RewardTrainer, resume_from_checkpoint: str | bool | None = None) -> TrainOutput | None:
    """Compute the features that are missing and fit the head; None where the usual steps are to train it over them.

    Raises:
        CheckpointError: the finished run is one of other data, another model or other settings.
        ConfigError: rows that are read once, a collator of the caller's, or sharded weights.
    """
    _require_features(trainer)
    args = trainer.args
    folder = Path(args.feature_cache or f"{args.output_dir}-features")
    autocast = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    store = FeatureStore(trainer.model, trainer.plan, folder, trainer.accelerator, autocast)
    if args.head_solver == "lbfgs":
        trainer.fitted = _digest(trainer)
        if (finished := _finished(trainer, resume_from_checkpoint)) is not None:
            return finished
        trainer.frozen = FrozenRun(store.gather(trainer.train_dataset["ids"], args.tokens_per_batch))
        return _solve(trainer, trainer.frozen)
    held_out = trainer.eval_dataset
    sets = [
        trainer.train_dataset,
        *(held_out.values() if isinstance(held_out, dict) else [held_out] if held_out else []),
    ]
    ids = concatenate_datasets([one.select_columns("ids") for one in sets])["ids"]
    trainer.frozen = FrozenRun(store.gather(ids, args.tokens_per_batch))
    trainer.data_collator = FeatureCollator(trainer.frozen.features, collator_for(trainer.plan, args))
    return None


def _digest(trainer: RewardTrainer) -> str:
    """Return one digest of what decides a fitted head: data, model and settings."""
    args = trainer.args
    settings = {name: value for name, value in trainer.identity["settings"].items() if name not in LENGTHS}
    parts = {**trainer.identity, "settings": settings, "sweep": [args.sweep_l2, args.sweep_loss_type]}
    return fingerprint([json.dumps(parts, sort_keys=True, default=str)])


def _finished(trainer: RewardTrainer, resume_from_checkpoint: str | bool | None) -> TrainOutput | None:
    """Take up the head of a run that is to go on and was finished; None where there is none."""
    if (asked := asked_checkpoint(resume_from_checkpoint)) is None:
        return None
    folder = Path(str(trainer.args.output_dir if asked is True else asked))
    contract = read_contract(folder)
    if contract is None or "run" not in contract.objective or not (folder / TRAINER_STATE_NAME).is_file():
        return None
    if contract.objective["run"] != trainer.fitted:
        remedy = "go on with what it began with, or start a new run in another output_dir"
        raise CheckpointError(f"{folder} holds a finished run of other data, another model or other settings; {remedy}")
    state = saved_state(str(folder))
    logger.warning("%s is a finished run (%d steps): nothing more is trained", folder, state.global_step)
    trainer.first_step = state.global_step
    output = trainer._take_up(str(folder), state)
    _take_objective(trainer, contract.objective)
    return output


@dataclass(frozen=True)
class FeatureCollator:
    """Collate encoded groups into a batch whose chunk holds features in place of tokens.

    Groups that have no features, as of a later evaluation, go through the backbone.
    """

    features: Features
    otherwise: PreferenceCollator

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        keys = [self.features.store.key(ids) for example in examples for ids in example["ids"]]
        if not self.features.rows.keys() >= set(keys):
            return self.otherwise(examples)
        chunk = FeatureChunk(self.features.table_UD[[self.features.rows[key] for key in keys]])
        tokens = sum(self.otherwise.plan.cost(example["ids"]) for example in examples)
        batch = RewardBatch((chunk,), torch.arange(len(keys)), sum(map(tokens_of_pairs, examples)), tokens)
        return {**self.otherwise.draws(examples), **collate_labels(examples), "batch": batch}


def _require_features(trainer: RewardTrainer) -> None:
    if not isinstance(trainer.train_dataset, Dataset) or not is_encoded(trainer.train_dataset, FEATURES):
        raise ConfigError(
            "freeze_backbone computes every sequence once, before training: give rows that can be read again, not a "
            "stream, and leave data_collator out"
        )
    if trainer.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ConfigError(
            "freeze_backbone trains a head, of which nothing has to be sharded: leave fsdp and deepspeed out"
        )


def _solve(trainer: RewardTrainer, run: FrozenRun) -> TrainOutput:
    """Fit the head for every setting, choose one, and fit it to all groups."""
    args, state = trainer.args, trainer.state
    problem = Problem.of(trainer, run.features)
    kinds = list(args.sweep_loss_type or [args.loss_type])
    penalties = sorted(args.sweep_l2 or penalties_of(problem.head, trainer.step_loss.compares), reverse=True)
    if problem.num_groups < LEFT_OUT and args.sweep_l2 is None:
        penalties = [PENALTY]
    settings = [(kind, l2) for kind in kinds for l2 in penalties]
    if len(settings) > 1:
        if problem.num_groups < LEFT_OUT:
            raise ConfigError(
                f"{problem.num_groups} groups are too few to choose by; give one sweep_l2 and one objective"
            )
        run.tried = [problem.fit(kind, l2, left_out=True) for kind, l2 in settings]
        best = max(run.tried, key=lambda one: (one.merit, one.l2))
        settings = [(best.loss_type, best.l2)]
    history: list[float] = []
    run.chosen = chosen = problem.fit(*settings[0], history=history)
    _take_over(trainer, chosen)
    state.global_step, state.max_steps, state.epoch = len(history), len(history), 1.0
    state.log_history += [{"loss": loss, "step": i + 1, "epoch": 1.0} for i, loss in enumerate(history)]
    metrics = {**problem.metrics(reward_head(core_model(trainer.model))), "loss": chosen.loss}
    trainer.log({**metrics, "l2": chosen.l2})
    return TrainOutput(state.global_step, chosen.loss, metrics)


def _take_over(trainer: RewardTrainer, chosen: Tried) -> None:
    """Put a fitted head, and what the objective has learned, into the trainer; every process takes the first one's."""
    head = reward_head(core_model(trainer.model))
    head.load_state_dict(chosen.head)
    for parameter in head.parameters() if trainer.accelerator.num_processes > 1 else ():
        parameter.data.copy_(broadcast(parameter.data))
    _take_objective(trainer, {"loss_type": chosen.loss_type, "threshold": chosen.threshold})


def _take_objective(trainer: RewardTrainer, objective: Mapping[str, Any]) -> None:
    trainer.args.loss_type = objective["loss_type"]
    trainer.step_loss = StepLoss(trainer.args, 0.1, attributes_of(trainer.model)).to(trainer.args.device)
    trainer.step_loss.take_up(objective)


@dataclass(frozen=True)
class Features:
    """Features of distinct sequences, and where each one is.

    Args:
        table_UD: a row for every distinct sequence, in the order of first appearance.
        row_B: the row of every sequence, group by group.
        rows: the row of a sequence, by its key.
        store: computes keys.
        reused: how many of them were computed before.
        seconds: it took to gather them.
    """

    table_UD: Tensor
    row_B: Tensor
    rows: dict[bytes, int]
    store: FeatureStore
    reused: int
    seconds: float


class FeatureStore:
    """The features of one backbone, in a folder of their own.

    Args:
        model: a reward model; its head is not read.
        plan: how its prefixes are shared.
        folder: the cache; backbones, poolings and precisions are kept apart in it.
        accelerator: the processes that share the work.
        autocast: compute in this precision, as training does.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: ForwardPlan,
        folder: str | Path,
        accelerator: Accelerator,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.plan, self.accelerator, self.autocast = model, plan, accelerator, autocast
        self.identity = fingerprint_backbone(model, autocast)
        self.folder = Path(folder) / self.identity[:16]
        self._start = hashlib.blake2b(self.identity.encode(), digest_size=KEY_BYTES)

    def key(self, ids: Sequence[int]) -> bytes:
        """Return the hash of backbone, pooling, precision and token ids."""
        found = self._start.copy()
        found.update(array("I", ids).tobytes())
        return found.digest()

    def gather(self, groups: Iterable[Sequences], tokens_per_batch: int | None = None) -> Features:
        """Return the features of every sequence of the groups: those that are kept, and the rest computed now.

        Args:
            groups: read twice where something is missing.

        Raises:
            ConfigError: the head reads more than one vector of a sequence, or the disk does not take the features.
        """
        started = time.perf_counter()
        rows: dict[bytes, int] = {}
        numbers = [rows.setdefault(self.key(ids), len(rows)) for group in groups for ids in group]
        row_B = torch.tensor(numbers, dtype=torch.long)
        width = next(m.in_features for m in reward_head(core_model(self.model)).modules() if isinstance(m, nn.Linear))
        table_UD = torch.empty(len(rows), width)
        found = self._read(rows, table_UD, np.zeros(len(rows), dtype=bool))
        reused = int(found.sum())
        with ProgressBar("features", len(rows), "sequences") as bar:
            bar.update(reused, reused=True)
            for number, window in enumerate(
                self._missing(groups, {key for key, row in rows.items() if not found[row]})
            ):
                size = sum(map(len, window))
                if number % self.accelerator.num_processes == self.accelerator.process_index:
                    keys, part_UD = self._compute(window, tokens_per_batch or TOKENS_PER_FORWARD)
                    table_UD[[rows[key] for key in keys]] = part_UD
                    found[[rows[key] for key in keys]] = True
                bar.advance(size)
        if self.accelerator.num_processes > 1:
            self.accelerator.wait_for_everyone()
            found = self._read(rows, table_UD, found)
        if not found.all():
            raise ConfigError(f"{self.folder}: {int((~found).sum())} sequences of other processes cannot be read")
        logger.info("features: %d sequences, %d of them reused from %s", len(rows), reused, self.folder)
        return Features(table_UD, row_B, rows, self, reused, time.perf_counter() - started)

    def _missing(self, groups: Iterable[Sequences], missing: set[bytes]) -> Iterator[Window]:
        """Yield what is to be computed, a file's worth at a time, the sequences of a group together."""
        window: Window = []
        size = 0
        for group in groups if missing else ():
            own = {key: ids for ids in group if (key := self.key(ids)) in missing}
            if own:
                window.append(list(own.items()))
                missing.difference_update(own)
                size += len(own)
            if size >= ROWS_PER_FILE:
                yield window
                window, size = [], 0
        if window:
            yield window

    def _compute(self, window: Window, tokens: int) -> tuple[list[bytes], Tensor]:
        """Compute and keep the features of a few thousand sequences. Shapes: -> [U, D]."""
        device = core_model(self.model).device.type
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            found = compute_features(
                self.model, [[ids for _, ids in group] for group in window], tokens, plan=self.plan
            )
        keys = [key for group in window for key, _ in group]
        part_UD = torch.stack([row for group in found for row in group])
        values = pa.FixedSizeListArray.from_arrays(pa.array(part_UD.numpy().reshape(-1)), part_UD.shape[1])
        table = pa.table({"key": pa.array(keys, pa.binary(KEY_BYTES)), "features": values})
        try:
            with replace_when_done(self.folder / f"part-{uuid.uuid4().hex}.parquet") as temporary:
                # Random mantissas do not compress; checksums find what a disk has spoilt.
                pq.write_table(table, temporary, compression="none", use_dictionary=False, write_page_checksum=True)
        except OSError as error:
            raise ConfigError(
                f"{self.folder} does not take the features ({one_line(error)}): {len(keys) * part_UD.shape[1] * 4:,} "
                "bytes for these sequences; make room, or name another feature_cache"
            ) from error
        return keys, part_UD

    def _read(self, rows: dict[bytes, int], table_UD: Tensor, found: np.ndarray) -> np.ndarray:
        """Fill in what the files of the folder hold of the sequences that are not there yet. Returns what is there."""
        for path in sorted(self.folder.glob("part-*.parquet")):
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    keys = file.read(["key"])["key"].to_pylist()
                    wanted = [(i, rows[key]) for i, key in enumerate(keys) if key in rows and not found[rows[key]]]
                    if not wanted:
                        continue
                    column = file.read(["features"])["features"].combine_chunks()
                values = np.asarray(column.values).reshape(len(keys), table_UD.shape[1])
            except (OSError, ValueError, pa.ArrowException, KeyError) as error:
                logger.warning("%s cannot be read and is computed again: %s", path, one_line(error))
                path.unlink(missing_ok=True)
                continue
            here, there = (list(places) for places in zip(*wanted, strict=True))
            table_UD[there] = torch.from_numpy(values[here])
            found[there] = True
        return found


def fingerprint_backbone(model: nn.Module, autocast: torch.dtype | None = None) -> str:
    """Return a digest of everything that features depend on but the token ids: weights, config, pooling, precision."""
    core = core_model(model)
    config = core.config.get_text_config().to_dict()
    config = {k: v for k, v in config.items() if not k.startswith("_") and k not in NOT_OF_THE_BACKBONE}
    start = [type(core).__name__, pooling_of(core), str(autocast), json.dumps(config, sort_keys=True, default=str)]
    digest = hashlib.sha256("\n".join(start).encode())
    own = {id(value) for value in reward_head(core).parameters()}
    for name, value in sorted(core.state_dict(keep_vars=True).items()):
        if id(value) in own:
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
