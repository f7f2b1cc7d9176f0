"""Objectives: pure, unreduced loss functions in fp32, one family a file, and their table.

The table says of each what it is, how it is reduced, and what it learns beside the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from rewardsmith.objectives.comparisons import (
    Comparisons,
    bradley_terry,
    centring,
    comparisons_of_groups,
    hinge,
    l2_on_rewards,
    make_comparisons,
    mean_over_comparisons,
    mean_over_groups,
    mean_over_rankings,
    scaled_bradley_terry,
    with_ties,
)
from rewardsmith.objectives.listwise import best_against_rest, plackett_luce
from rewardsmith.objectives.regression import mean_over_ratings, rating_losses
from rewardsmith.objectives.tie_models import (
    davidson,
    davidson_outcomes,
    davidson_start,
    rao_kupper,
    rao_kupper_outcomes,
    rao_kupper_start,
)

__all__ = [
    "OBJECTIVES",
    "OPTIONS",
    "REGRESSION",
    "Comparisons",
    "Objective",
    "best_against_rest",
    "bradley_terry",
    "centring",
    "comparisons_of_groups",
    "davidson",
    "find_objective",
    "hinge",
    "l2_on_rewards",
    "make_comparisons",
    "mean_over_comparisons",
    "mean_over_groups",
    "mean_over_rankings",
    "mean_over_ratings",
    "plackett_luce",
    "rao_kupper",
    "rating_losses",
    "scaled_bradley_terry",
    "with_ties",
]


@dataclass(frozen=True)
class Objective:
    """One choice of `loss_type`.

    Args:
        function: `f(rewards_B, comparisons) -> losses_P`, or `f(...) -> (losses_G, weight_G)` when listwise; of
            ratings `f(predicted_BA, ratings_BA, std_A) -> losses_BA`.
        kind: "pairwise" or "listwise"; "ratings" for one that reads no comparison.
        reduction: "comparisons" (every comparison counts alike) or "groups" (every prompt counts alike).
        options: fields of the training config that it reads, each with the argument of `function` that takes it.
        start_threshold: for tie models, where the learnable threshold starts, given the share of ties.
        reads: what of a comparison it reads beside its order: margin, weight, probability (a soft label).
        log_outcomes: for tie models, `f(lead_P, threshold)`: the logarithms of P(better), P(worse) and P(tie).
    """

    function: Callable[..., Any]
    kind: Literal["pairwise", "listwise", "ratings"] = "pairwise"
    reduction: Literal["comparisons", "groups"] = "comparisons"
    options: Mapping[str, str] = field(default_factory=dict)
    start_threshold: Callable[[float], float] | None = None
    reads: tuple[str, ...] = ("margin", "weight", "probability")
    log_outcomes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None


NO_MARGIN = ("weight", "probability")
SMOOTHED = {"label_smoothing": "label_smoothing"}
OBJECTIVES = {
    "bradley_terry": Objective(bradley_terry, options=SMOOTHED),
    "k_wise": Objective(bradley_terry, reduction="groups", options=SMOOTHED),
    "plackett_luce": Objective(
        plackett_luce, kind="listwise", reduction="groups", options={"ranking_top_k": "top_k"}, reads=()
    ),
    "best_against_rest": Objective(best_against_rest, kind="listwise", reduction="groups", reads=()),
    "scaled_bradley_terry": Objective(scaled_bradley_terry, options=SMOOTHED),
    "hinge": Objective(hinge),
    "rao_kupper": Objective(
        rao_kupper, start_threshold=rao_kupper_start, log_outcomes=rao_kupper_outcomes, reads=NO_MARGIN
    ),
    "davidson": Objective(davidson, start_threshold=davidson_start, log_outcomes=davidson_outcomes, reads=NO_MARGIN),
}
# Reads ratings and no comparison, so it stands beside the table of those that do.
REGRESSION = "regression"
_REGRESSION = Objective(rating_losses, kind="ratings", reads=())
# Every field of the training config that some objective reads.
OPTIONS = tuple(dict.fromkeys(name for objective in OBJECTIVES.values() for name in objective.options))


def find_objective(loss_type: str) -> Objective:
    """Return the objective of a `loss_type`, of comparisons or of ratings."""
    return _REGRESSION if loss_type == REGRESSION else OBJECTIVES[loss_type]
