"""Our own rows lose nothing."""

import pytest
from any_groups import groups
from hypothesis import given

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import rewardsmith
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.training.collator import collate_comparisons
from rewardsmith.training.encoding import keep_completions


@given(groups(spanning=False))
def test_our_own_row_is_lossless(group):
    assert parse_row(rewardsmith.write_row(group)) == group
    assert parse_row(rewardsmith.write_table_row(group)) == group


def test_shares_of_votes_for_a_tie_stay_and_reach_the_objective(tmp_path):
    soft = Comparison(0, 1, probability=0.7, tie_share=0.2)
    group = PreferenceGroup("p", ("a", "b"), (soft, Comparison(0, 1, "tie"), Comparison(1, 0)))
    with rewardsmith.open_groups(tmp_path / "g.parquet") as write:
        write(group)
    for found in (parse_row(rewardsmith.write_row(group)), *load_preferences(tmp_path / "g.parquet")):
        assert found.comparisons == group.comparisons
    batch = collate_comparisons([keep_completions(group, [[1], [2]], [True, True])])
    assert batch.tie_share_P.tolist() == pytest.approx([0.2, 1.0, 0.0])
    with pytest.raises(DataError, match=r"row 3: tie_share is 0.9 beside a probability of 0.7, which counts votes"):
        parse_row({"prompt": "p", "chosen": "a", "rejected": "b", "probability": 0.7, "tie_share": 0.9}, "row 3")
    with pytest.raises(DataError, match="beside a probability of 1"):
        parse_row({"prompt": "p", "chosen": "a", "rejected": "b", "tie_share": 0.2})
