"""Evaluate and audit anything that scores. numpy and scipy, no torch."""

from rewardsmith.evaluation.comparing import ModelComparison, compare
from rewardsmith.evaluation.evaluating import Calibration, Evaluation, calibrate, evaluate
from rewardsmith.evaluation.judged import FileScorer, FunctionScorer, ScoredGroup, as_scorer, score_groups
from rewardsmith.evaluation.metrics import measure
from rewardsmith.stats.intervals import Resampling, bootstrap_mean, bootstrap_ratio, wilson

__all__ = [
    "Calibration",
    "Evaluation",
    "FileScorer",
    "FunctionScorer",
    "ModelComparison",
    "Resampling",
    "ScoredGroup",
    "as_scorer",
    "bootstrap_mean",
    "bootstrap_ratio",
    "calibrate",
    "compare",
    "evaluate",
    "measure",
    "score_groups",
    "wilson",
]
