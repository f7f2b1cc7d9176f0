"""What a trainer of judged steps is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput, TokenClassifierOutput

from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.steps import StepRenderer, StepRule
from rewardsmith.training import model as models
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import EncodingReport
from rewardsmith.training.labels import Task
from rewardsmith.training.steps.encoding import MASKED, STEP_FEATURES, UNJUDGED, StepEncoder, encode_steps
from rewardsmith.training.steps.loss import StepCollator, StepLabelLoss, StepLabels, StepMetrics, log_odds

if TYPE_CHECKING:
    from rewardsmith.training.model import Parts


class StepTask(Task):
    """Train on judged steps."""

    features = STEP_FEATURES
    judges_steps = True

    def encoder(self, parts: Parts, args: RewardConfig) -> StepEncoder:
        """Return the encoder of questions and steps. Raises ConfigError for a separator that is not one token."""
        rule = StepRule.of(parts.tokenizer, args.step_separator, args.step_format)
        limit = models.length_limit(args, parts.model)
        return StepEncoder(StepRenderer(parts.tokenizer, rule), args, limit, models.num_embeddings(parts.model))

    def encode(self, dataset: object, encoder: object, name: str, args: RewardConfig) -> tuple[Dataset, EncodingReport]:
        """Encode every solution."""
        assert isinstance(encoder, StepEncoder)
        assert isinstance(dataset, Iterable)
        return encode_steps(dataset, encoder, name, merge_prompts=args.merge_prompts)

    def collator(self, plan: ForwardPlan, args: RewardConfig) -> Callable[..., Any]:
        """Return the collator of steps."""
        return StepCollator(plan, args.tokens_per_batch)

    def loss(self, args: RewardConfig, model: nn.Module, dataset: object) -> nn.Module:
        """Return the cross-entropy of steps."""
        return StepLabelLoss()

    def metrics(self, name: str) -> StepMetrics:
        """Return those of steps; evaluation keeps every solution for what is measured over all."""
        return StepMetrics(keeps=name == "eval")

    def rewards(self, columns_BC: Tensor) -> Tensor:
        """Return the log odds that each step is right."""
        return log_odds(columns_BC)

    def shown(self, columns_BC: Tensor, comparisons: object) -> ModelOutput:
        """Return the logits of every step, with the labels as hidden states' place holds none."""
        assert isinstance(comparisons, StepLabels)
        output = TokenClassifierOutput(logits=columns_BC)
        output["labels"] = comparisons.label_S
        return output

    def predictions(self, shown: ModelOutput) -> tuple[Tensor, Tensor]:
        """Return logits and labels as TRL's `compute_metrics` takes them. Shapes: [S, 1, 2], [S, 1]; -100 is unjudged.

        A soft label becomes the nearer of 0 and 1.
        """
        label_S = shown["labels"]
        hard_S = torch.where(label_S == UNJUDGED, MASKED, (label_S > 0.5).long())
        return shown["logits"].detach()[:, None], hard_S[:, None]
