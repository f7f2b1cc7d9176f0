"""Read, normalise, check, split, mix and simulate preference data. No torch."""

from rewardsmith.data.detecting import detect_format, parse_row, read_rows
from rewardsmith.data.formats.pairs import to_trl_rows
from rewardsmith.data.formats.rankings import to_ranking_row, to_scores_row
from rewardsmith.data.formats.trainers import to_nemo_rows
from rewardsmith.data.loading import LoadReport, PreferenceSet, iter_preferences, load_preferences
from rewardsmith.data.merging import merge_groups

__all__ = [
    "LoadReport",
    "PreferenceSet",
    "detect_format",
    "iter_preferences",
    "load_preferences",
    "merge_groups",
    "parse_row",
    "read_rows",
    "to_nemo_rows",
    "to_ranking_row",
    "to_scores_row",
    "to_trl_rows",
]
