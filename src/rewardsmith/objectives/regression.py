"""Regression onto ratings: one loss for each labelled cell of completions by attributes, and their reduction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from rewardsmith.objectives.comparisons import at_least_float32

RatingLoss = Literal["squared", "huber"]


def rating_losses(predicted_BA: Tensor, ratings_BA: Tensor, std_A: Tensor, loss: RatingLoss = "squared") -> Tensor:
    """Return `((r - y) / s)^2` for each completion and attribute, or twice Huber's loss of it; 0 where y is NaN.

    The regression of HelpSteer (Wang et al. 2023, arXiv 2311.09528) and of the first stage of ArmoRM (Wang et al. 2024,
    arXiv 2406.12845). Huber's loss with a threshold of 1, times 2, so that small errors count alike in both: a rating
    that is far off pulls with a bounded force.

    | input | used as |
    | --- | --- |
    | ratings | the number to give; NaN where nobody rated |
    | std_A | the unit of each attribute; 1 where ratings are taken as they are |

    Shapes: predicted_BA, ratings_BA (B, A), std_A (A,) -> losses_BA (B, A).
    """
    predicted_BA = at_least_float32(predicted_BA)
    ratings_BA, std_A = ratings_BA.to(predicted_BA), std_A.to(predicted_BA)
    # A cell without a rating has no error, so no gradient that could be NaN.
    known_BA = torch.where(ratings_BA.isnan(), predicted_BA.detach(), ratings_BA)
    error_BA = (predicted_BA - known_BA) / std_A
    if loss == "huber":
        return 2 * huber_loss(error_BA, torch.zeros_like(error_BA), reduction="none")
    return error_BA.square()


def mean_over_ratings(losses_BA: Tensor, ratings_BA: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses and how many cells hold a rating: every rating counts alike."""
    return losses_BA.sum(), (~ratings_BA.isnan()).sum().to(losses_BA.dtype)
