"""From one loss a comparison to the loss of an optimizer step.

Every reduction returns (sum, denominator) instead of their quotient: the trainer adds both over micro-batches and
devices and divides once, so that accumulation and data parallelism do not change the loss.
"""

import torch
from torch import Tensor


def mean_over_comparisons(losses_P: Tensor, weight_P: Tensor) -> tuple[Tensor, Tensor]:
    """Give the weighted sum of the losses and the sum of the weights: every comparison counts alike.

    With weights 1 the quotient is the plain mean that TRL takes over the rows of a batch.
    """
    weight_P = weight_P.to(losses_P.dtype)
    return (_silenced(losses_P, weight_P) * weight_P).sum(), weight_P.sum()


def mean_over_groups(losses_P: Tensor, weight_P: Tensor, group_P: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Give the sum over prompts of each prompt's weighted mean loss, and the number of prompts with any weight.

    The k-wise reduction of InstructGPT (Ouyang et al. 2022, arXiv 2203.02155, eq. 1): 1/C(K,2) over the pairs of a
    prompt, then the mean over prompts, so that a prompt with nine answers does not count 36 times. Skipped pairs
    (weight 0) leave the count: the mean is over the remaining ones.
    """
    weight_P = weight_P.to(losses_P.dtype)
    zeros_G = losses_P.new_zeros(num_groups)
    total_G = zeros_G.index_add(0, group_P, _silenced(losses_P, weight_P) * weight_P)
    weight_G = zeros_G.index_add(0, group_P, weight_P)
    has_any_G = weight_G > 0
    mean_G = total_G / torch.where(has_any_G, weight_G, torch.ones_like(weight_G))
    return mean_G.sum(), has_any_G.sum().to(losses_P.dtype)


def mean_over_rankings(losses_G: Tensor, weight_G: Tensor) -> tuple[Tensor, Tensor]:
    """Give the weighted sum of listwise losses and the number of prompts with any weight.

    The weight of a prompt is a factor of its loss; a prompt without weight (not ranked) does not count.
    """
    weight_G = weight_G.to(losses_G.dtype)
    return (_silenced(losses_G, weight_G) * weight_G).sum(), (weight_G > 0).sum().to(losses_G.dtype)


def _silenced(losses: Tensor, weight: Tensor) -> Tensor:
    """Replace losses without weight by 0, so that an overflow there cannot reach the sum as 0 * inf = NaN."""
    return torch.where(weight > 0, losses, torch.zeros_like(losses))
