"""Find what silently ruins a run: in a checkpoint, in a model at hand, in preference data."""

from rewardsmith.doctor.examining import Examination, examine, examine_loaded
from rewardsmith.findings import Finding, worst

__all__ = ["Examination", "Finding", "examine", "examine_loaded", "worst"]
