"""Objectives: pure, unreduced loss functions in fp32, one family a file."""

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
from rewardsmith.objectives.table import OBJECTIVES, Objective
from rewardsmith.objectives.tie_models import davidson, rao_kupper

__all__ = [
    "OBJECTIVES",
    "Comparisons",
    "Objective",
    "best_against_rest",
    "bradley_terry",
    "centring",
    "comparisons_of_groups",
    "davidson",
    "hinge",
    "l2_on_rewards",
    "make_comparisons",
    "mean_over_comparisons",
    "mean_over_groups",
    "mean_over_rankings",
    "plackett_luce",
    "rao_kupper",
    "scaled_bradley_terry",
    "with_ties",
]
