"""Read, normalise, check, split, mix and simulate preference data. No torch."""

from rewardsmith.data.formats import read_rows
from rewardsmith.data.loading import LoadReport, PreferenceSet, iter_preferences, load_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.data.row_writers import to_nemo_rows, to_ranking_row, to_scores_row, to_trl_rows
from rewardsmith.data.rows import detect_format, parse_row

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
