"""A head of several ratings whose weighted sum is the reward.

The checkpoint holds what transformers knows: a classifier with A labels, one row of `score.weight` for each attribute.
How the rows become ratings and ratings become the reward stands in the scoring contract, as a list of `Attribute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardsmith.errors import ConfigError
from rewardsmith.models.heads import initialise_head
from rewardsmith.models.wide_head import WideHead, linear_head, put_layer


@dataclass(frozen=True, slots=True)
class Attribute:
    """One rating that a head gives: `mean + std * row`, and it adds `weight` times that to the reward.

    Args:
        name: of the rating in the data.
        weight: in the reward.
        mean, std: undo the scale that the ratings were trained in; 0 and 1 where they were trained as they are.
    """

    name: str
    weight: float
    mean: float = 0.0
    std: float = 1.0


class AttributeHead(WideHead):
    """A linear head of A ratings. Shapes: [..., D] -> [..., 1 + A], the reward first."""

    def __init__(self, like: nn.Linear, attributes: Sequence[Attribute]) -> None:
        super().__init__(like)
        self.attributes = tuple(attributes)

    def forward(self, input: Tensor) -> Tensor:
        """Return the reward and the ratings, in fp32, or fp64 where the weights are."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        # Numbers, not buffers: a model that is cast to half precision keeps its weights and scales.
        weight_A, mean_A, std_A = self._columns(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        ratings = mean_A + std_A * F.linear(input.to(dtype), self.weight.to(dtype), bias)
        return torch.cat([(ratings * weight_A).sum(-1, keepdim=True), ratings], dim=-1)

    def plain(self) -> nn.Linear:
        """Return the linear head of the reward alone: the weighted sum of linear rows is a linear row."""
        weight_A, mean_A, std_A = self._columns(torch.float64)
        share_A = weight_A * std_A
        with torch.no_grad():
            bias = (weight_A * mean_A).sum()
            if self.bias is not None:
                bias = bias + (share_A * self.bias.double()).sum()
            has_bias = self.bias is not None or bool(bias != 0)
            found = nn.Linear(self.in_features, 1, has_bias, device=self.weight.device, dtype=self.weight.dtype)
            found.weight.copy_((share_A[:, None] * self.weight.double()).sum(0, keepdim=True))
            if has_bias:
                found.bias.fill_(float(bias))
        return found

    def _columns(self, dtype: torch.dtype) -> list[Tensor]:
        rows = [[getattr(one, name) for one in self.attributes] for name in ("weight", "mean", "std")]
        return [torch.tensor(row, dtype=dtype, device=self.weight.device) for row in rows]


def install_attributes(model: PreTrainedModel, attributes: Sequence[Attribute], head_init: str = "normal") -> bool:
    """Make the head of a sequence classifier one of ratings, in place.

    A head with as many rows as there are attributes keeps its weights.

    Returns:
        Whether the rows are new.

    Raises:
        ConfigError: the head has no linear layer, or answers as an ensemble.
    """
    parent, name, layer = linear_head(model)
    if isinstance(layer, WideHead) and not isinstance(layer, AttributeHead):
        raise ConfigError("a head of ratings is none of an ensemble; start from a model with a single head")
    count, is_new = len(attributes), layer.out_features != len(attributes)
    if is_new:
        made = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        layer = nn.Linear(layer.in_features, count, layer.bias is not None, **made)
        initialise_head(layer, head_init)
    put_layer(parent, name, AttributeHead(layer, attributes))
    model.config.num_labels = count
    # transformers' classes keep a copy, by which their own losses read labels.
    model.num_labels = count  # type: ignore[assignment]
    return is_new


def attributes_of(model: nn.Module) -> tuple[Attribute, ...]:
    """Return the ratings that a model's head gives; () for a model that gives a reward alone."""
    found = (module.attributes for module in model.modules() if isinstance(module, AttributeHead))
    return next(found, ())


def set_attributes(model: nn.Module, attributes: Sequence[Attribute]) -> None:
    """Give the heads of ratings, also those that PEFT has copied, other weights or scales."""
    for module in model.modules():
        if isinstance(module, AttributeHead):
            module.attributes = tuple(attributes)
