"""Rewards and comparisons of a few answers, small enough to work losses out by hand."""

import math

import torch

from rewardsmith import objectives as o
from rewardsmith.objectives import OBJECTIVES

LN2 = math.log(2)


def rewards(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pair(**columns) -> o.Comparisons:
    return o.make_comparisons([0], [1], **{name: [value] for name, value in columns.items()})


def ranking(ranks: list[int]) -> o.Comparisons:
    edges = [(i, j) for i in range(len(ranks)) for j in range(i + 1, len(ranks))]
    better = [i if ranks[i] <= ranks[j] else j for i, j in edges]
    worse = [j if ranks[i] <= ranks[j] else i for i, j in edges]
    ties = [ranks[i] == ranks[j] for i, j in edges]
    return o.make_comparisons(better, worse, [0] * len(edges), 1, is_tie=ties)


def value(name: str, rewards_B: torch.Tensor, comparisons: o.Comparisons, threshold: float = 0.3) -> torch.Tensor:
    """The reduced loss of one objective, as the trainer computes it."""
    objective = OBJECTIVES[name]
    if objective.kind == "listwise":
        total, count = o.mean_over_rankings(*objective.function(rewards_B, comparisons))
        return total / count
    extra = (torch.tensor(threshold, dtype=rewards_B.dtype),) if objective.start_threshold else ()
    losses_P = objective.function(rewards_B, comparisons, *extra)
    if objective.reduction == "groups":
        total, count = o.mean_over_groups(losses_P, comparisons.weight_P, comparisons.group_P, comparisons.num_groups)
    else:
        total, count = o.mean_over_comparisons(losses_P, comparisons.weight_P)
    return total / count
