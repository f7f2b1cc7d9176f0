"""Our own rows lose nothing."""

from any_groups import groups
from hypothesis import given

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import rewardsmith


@given(groups(spanning=False))
def test_our_own_row_is_lossless(group):
    assert parse_row(rewardsmith.write_row(group)) == group
    assert parse_row(rewardsmith.write_table_row(group)) == group
