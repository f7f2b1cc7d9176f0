"""Evaluate and audit anything that scores. numpy and scipy, no torch."""

from rewardsmith.evaluation.calibration import Calibration, calibrate
from rewardsmith.evaluation.comparing import ModelComparison, compare
from rewardsmith.evaluation.evaluating import Evaluation, evaluate
from rewardsmith.evaluation.judged import ScoredGroup, score_groups
from rewardsmith.evaluation.metrics import measure
from rewardsmith.evaluation.scorers import FileScorer, FunctionScorer, as_scorer
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
