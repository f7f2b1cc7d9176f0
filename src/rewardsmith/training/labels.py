"""What people judged, and what of a trainer depends on it: whole answers against one another, or steps.

Also what labels of comparisons hold beside their order, and what an objective reads of it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from datasets import Dataset, Features
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput, SequenceClassifierOutput

from rewardsmith.data.formats.format import STEP_LABELS
from rewardsmith.errors import DataError, listed
from rewardsmith.models.attribute_head import attributes_of
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.objectives import OBJECTIVES, Comparisons, find_objective
from rewardsmith.records import PreferenceGroup
from rewardsmith.training import encoding, rated
from rewardsmith.training import model as models
from rewardsmith.training.collator import collator_for
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import COLUMNS, Encoder, EncodingReport
from rewardsmith.training.loss import RewardMetrics, StepLoss
from rewardsmith.training.streams import EncodedStream

if TYPE_CHECKING:
    from rewardsmith.training.model import Parts

logger = logging.getLogger(__name__)
# Of `label_columns`, and how many rows it reads at once.
Columns = Mapping[str, NDArray[Any]]
LABEL_ROWS = 100_000
# Column of encoded rows -> how it is called, and which values of it say nothing.
SAYING: dict[str, tuple[str, tuple[float, ...]]] = {
    "margin": ("margins", (0.0,)),
    "weight": ("weights", (0.0, 1.0)),
    "probability": ("soft labels", (0.0, 0.5, 1.0)),
}


def tie_share(columns: Columns) -> float:
    """Return the share of ties among the comparisons, where a tie model's threshold starts; 0.1 for a stream."""
    ties = columns.get("tie_share", columns.get("is_tie"))
    return float(np.asarray(ties).mean()) if ties is not None and len(ties) else 0.1


def log_objective(loss_type: str, columns: Columns) -> float:
    """Say what is minimised, the range of margins, and what the objective does not read; returns the share of ties."""
    if find_objective(loss_type).kind == "ratings":
        count = len(columns.get("weight", ()))
        logger.info("objective %s%s", loss_type, f"; {count} comparisons only measure it" if count else "")
        return tie_share(columns)
    reads = find_objective(loss_type).reads
    margins = _saying(columns, "margin")
    spread = "no margins"
    if len(margins) and "margin" in reads:
        spread = f"margins from {margins.min():g} to {margins.max():g} in units of the reward (logits)"
    elif len(margins):
        spread = "which reads no margins"
    elif "margin" not in columns:
        spread = "margins unknown"
    logger.info("objective %s, %s", loss_type, spread)
    found = {name: len(_saying(columns, name)) for name in SAYING}
    unread = [name for name in SAYING if found[name] and name not in reads]
    if unread:
        told = ", ".join(f"{SAYING[name][0]} of {found[name]:,}" for name in unread)
        others = [name for name, other in OBJECTIVES.items() if set(unread) <= set(other.reads)]
        logger.warning(
            "%s does not read the %s comparisons: they train as if there were none; loss_type %s read them",
            *(loss_type, told, listed(others, len(others))),
        )
    return tie_share(columns)


def _saying(columns: Columns, name: str) -> NDArray[Any]:
    """Return the values of a column that say anything."""
    values = np.asarray(columns.get(name, ()))
    return values[~np.isin(values, SAYING[name][1])]


def label_columns(dataset: object) -> Columns:
    """Return what encoded rows hold beside the sides, an array of one value a comparison each; {} for a stream."""
    names = [name for name in COLUMNS[2:] if isinstance(dataset, Dataset) and name in dataset.column_names]
    if not names:
        return {}
    # As Arrow holds them: rows of Python take over 1,000 times as long.
    tables = list(dataset.select_columns(names).with_format("arrow").iter(LABEL_ROWS))  # type: ignore[attr-defined]
    parts = {name: [part for table in tables for part in table.column(name).chunks] for name in names}
    flat = {
        name: [part.flatten() if hasattr(part, "flatten") else part for part in found] for name, found in parts.items()
    }
    return {
        name: np.concatenate([part.to_numpy(zero_copy_only=False) for part in found] or [np.zeros(0)])
        for name, found in flat.items()
    }


def settle_labels(args: RewardConfig, rows: object) -> None:
    """Settle which ratings a run learns, if any, before a model is loaded, and refuse rows of judged steps.

    Of these nothing would be learned, or their worst step as if it were a rating of the answer.

    Raises:
        DataError: rows of judged steps; names what trains on them.
    """
    if getattr(args, "learns_ratings", False):
        if not args.attributes and any(STEP_LABELS in group.metadata for group in rated.groups_looked_at(rows)[0]):
            raise DataError(
                f"the rows judge steps, and of their ratings one is the worst step: {rated.TRAIN_STEPS}, or name the "
                "attributes that rate whole answers"
            )
        rated.take_attributes(args, rows)
    elif isinstance(rows, Sequence) and not isinstance(rows, str):
        _refuse_steps(rows)


def _refuse_steps(rows: Sequence[object]) -> None:
    """Refuse rows of judged steps that compare nothing."""
    if any(isinstance(row, PreferenceGroup) and row.comparisons for row in rows):
        return
    is_of_steps = False
    for group in rated.groups_looked_at(rows)[0]:
        if group.comparisons:
            return
        is_of_steps = is_of_steps or STEP_LABELS in group.metadata
    if is_of_steps:
        raise DataError(rated.JUDGE_STEPS)


def labels_learned(args: RewardConfig) -> tuple[tuple[str, ...], bool]:
    """Return the names of the ratings that a run learns, and whether it learns comparisons, as an `Encoder` asks."""
    return tuple(args.attributes or ()), find_objective(args.loss_type).kind != "ratings"


class Task(ABC):
    """From rows to a loss.

    Args:
        features: columns of encoded rows.
        judges_steps: whether steps are judged, by a classifier of tokens.
    """

    features: ClassVar[Features]
    judges_steps: ClassVar[bool] = False

    @abstractmethod
    def encoder(self, parts: Parts, args: RewardConfig) -> Any:
        """Return what turns rows into token ids."""

    @abstractmethod
    def encode(
        self, dataset: object, encoder: object, name: str, args: RewardConfig
    ) -> tuple[Dataset | EncodedStream, EncodingReport]:
        """Encode a data set. Raises DataError where nothing is left."""

    @abstractmethod
    def collator(self, plan: ForwardPlan, args: RewardConfig) -> Callable[..., Any]:
        """Return what makes a micro-batch, `{"batch", "comparisons"}`, of encoded rows."""

    @abstractmethod
    def loss(self, args: RewardConfig, model: nn.Module, dataset: object) -> Any:
        """Return the module that computes the terms of a micro-batch of encoded rows."""

    @abstractmethod
    def metrics(self, name: str) -> RewardMetrics:
        """Return metrics that are empty, for "train" or "eval"."""

    @abstractmethod
    def rewards(self, columns_BC: Tensor) -> Tensor:
        """Return one number a text, or a step, of what the head gives. Shapes: [B, C] -> [B]."""

    @abstractmethod
    def shown(self, columns_BC: Tensor, comparisons: object) -> ModelOutput:
        """Return the `logits` that `compute_loss` gives a caller who asks for them."""

    @abstractmethod
    def predictions(self, shown: ModelOutput) -> tuple[Tensor, Tensor]:
        """Return predictions and labels for `compute_metrics`."""


class ComparisonTask(Task):
    """Train on comparisons of whole answers, on their ratings, or on both."""

    features = encoding.Features({**encoding.FEATURES, **encoding.RATINGS})

    def encoder(self, parts: Parts, args: RewardConfig) -> Encoder:
        """Return the encoder of prompts and answers."""
        limits = (models.length_limit(args, parts.model), args.overflow, models.num_embeddings(parts.model))
        return Encoder(Renderer(parts.tokenizer), *limits, *labels_learned(args))

    def encode(
        self, dataset: object, encoder: object, name: str, args: RewardConfig
    ) -> tuple[Dataset | EncodedStream, EncodingReport]:
        """Encode every group."""
        assert isinstance(encoder, Encoder)
        how: dict[str, Any] = {"merge_prompts": args.merge_prompts, "num_proc": args.dataset_num_proc}
        return encoding.encode_dataset(dataset, encoder, name, **how)

    def collator(self, plan: ForwardPlan, args: RewardConfig) -> Callable[..., Any]:
        """Return the collator of comparisons."""
        return collator_for(plan, args)

    def loss(self, args: RewardConfig, model: nn.Module, dataset: object) -> nn.Module:
        """Return the objective, with its threshold at the share of ties, and ratings in their units."""
        share = log_objective(args.loss_type, label_columns(dataset))
        if args.learns_ratings:
            rated.take_scales(args, model, dataset)
        return StepLoss(args, share, attributes_of(model))

    def metrics(self, name: str) -> RewardMetrics:
        """Return those of rewards and margins."""
        return RewardMetrics()

    def rewards(self, columns_BC: Tensor) -> Tensor:
        """Return the first column."""
        return columns_BC[:, 0]

    def shown(self, columns_BC: Tensor, comparisons: object) -> ModelOutput:
        """Return as TRL does a column of rewards, those of the better sides first."""
        assert isinstance(comparisons, Comparisons)
        sides = torch.cat([columns_BC[comparisons.better_P, 0], columns_BC[comparisons.worse_P, 0]])
        return SequenceClassifierOutput(logits=sides[:, None])

    def predictions(self, shown: ModelOutput) -> tuple[Tensor, Tensor]:
        """Return the rewards of both sides, and labels of zeros. Shapes: [P, 2], [P]."""
        pairs_P2 = torch.stack(shown["logits"].detach()[:, 0].chunk(2), dim=1)
        return pairs_P2, torch.zeros(len(pairs_P2), dtype=torch.long, device=pairs_P2.device)
