"""Evaluate and audit anything that scores. numpy and scipy, no torch."""

from rewardsmith.evaluation.comparing import ModelComparison, compare
from rewardsmith.evaluation.evaluating import Evaluation, calibrate, evaluate
from rewardsmith.evaluation.judged import ScoredGroup, measure, score_groups
from rewardsmith.evaluation.scorers import FileScorer, FunctionScorer, as_scorer
from rewardsmith.stats.calibration import Calibration
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
