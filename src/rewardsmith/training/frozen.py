"""Train the head alone, over features of the frozen backbone: to the optimum by L-BFGS, or in the usual steps."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType, broadcast
from datasets import Dataset, concatenate_datasets
from torch import nn
from transformers.trainer_utils import TrainOutput

from rewardsmith.errors import ConfigError
from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.models.shared_prefix.forward import apply_head, core_model, reward_head
from rewardsmith.models.shared_prefix.packing import FeatureChunk, RewardBatch, Sequences
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.training.collator import PreferenceCollator, collate_comparisons, tokens_of_pairs
from rewardsmith.training.encoding import FEATURES, is_encoded
from rewardsmith.training.features import Features, FeatureStore
from rewardsmith.training.head_fitting import LEFT_OUT, Problem, Tried
from rewardsmith.training.loss import StepLoss

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)

# Penalties that are tried where none is given, and the one that is taken where there are too few groups to choose by.
PENALTIES, PENALTY = (1e-1, 1e-2, 1e-3, 1e-4), 1e-2


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
            rows.append(SweepRow(tried.loss_type, tried.l2, tried.accuracy, accuracy, tried.seconds, is_chosen))
        return rows


@dataclass(frozen=True)
class SweepRow:
    """A setting, its accuracy on the training groups that were left out, and on the held-out ones."""

    loss_type: str
    l2: float
    left_out: float
    held_out: Estimate
    seconds: float
    is_chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "held_out": self.held_out.to_dict()}


def train_head(trainer: RewardTrainer) -> TrainOutput | None:
    """Compute the features that are missing and fit the head; None where the usual steps are to train it over them.

    Raises:
        ConfigError: rows that are read once, a collator of the caller's, or sharded weights.
    """
    _require_features(trainer)
    args = trainer.args
    folder = Path(args.feature_cache or f"{args.output_dir}-features")
    autocast = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    store = FeatureStore(trainer.model, trainer.plan, folder, trainer.accelerator, autocast)
    if args.head_solver == "lbfgs":
        trainer.frozen = FrozenRun(store.gather(trainer.train_dataset["ids"], args.tokens_per_batch))
        return _solve(trainer, trainer.frozen)
    held_out = trainer.eval_dataset
    sets = [
        trainer.train_dataset,
        *(held_out.values() if isinstance(held_out, dict) else [held_out] if held_out else []),
    ]
    ids = concatenate_datasets([one.select_columns("ids") for one in sets])["ids"]
    trainer.frozen = FrozenRun(store.gather(ids, args.tokens_per_batch))
    trainer.data_collator = FeatureCollator(
        trainer.frozen.features, PreferenceCollator(trainer.plan, args.tokens_per_batch)
    )
    return None


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
        return {"batch": batch, "comparisons": collate_comparisons(examples)}


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
    penalties = sorted(args.sweep_l2 or PENALTIES, reverse=True)
    if problem.num_groups < LEFT_OUT and args.sweep_l2 is None:
        penalties = [PENALTY]
    settings = [(kind, l2) for kind in kinds for l2 in penalties]
    if len(settings) > 1:
        if problem.num_groups < LEFT_OUT:
            raise ConfigError(
                f"{problem.num_groups} groups are too few to choose by; give one sweep_l2 and one objective"
            )
        run.tried = [problem.fit(kind, l2, left_out=True) for kind, l2 in settings]
        best = max(run.tried, key=lambda one: (one.accuracy, one.l2))
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
    trainer.args.loss_type = chosen.loss_type
    trainer.step_loss = StepLoss(trainer.args, 0.1).to(trainer.args.device)
    trainer.step_loss.take_up({"threshold": chosen.threshold})
