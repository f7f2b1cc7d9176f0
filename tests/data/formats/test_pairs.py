"""Pairs that we write for TRL read back as the group they came from."""

import pytest
from any_groups import groups
from hypothesis import given

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import rewardsmith
from rewardsmith.data.formats.pairs import to_tokenized_rows, to_trl_rows
from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, PreferenceGroup, TokenIds


@given(groups())
def test_trl_rows_merge_back_into_the_group(group):
    rows = to_trl_rows(group)
    (merged,) = merge_groups([parse_row(row) for row in rows])
    assert merged == group


def test_token_rows_round_trip():
    group = PreferenceGroup("", (TokenIds([1, 2]), TokenIds([1, 3])), (Comparison(0, 1, margin=1.0),))
    (row,) = to_tokenized_rows(group)
    assert row == {"chosen_ids": [1, 2], "rejected_ids": [1, 3], "margin": 1.0}
    assert parse_row(row) == group
    assert parse_row(rewardsmith.write_row(group)) == group


def test_text_is_written_as_messages_on_request_only():
    group = PreferenceGroup("q", ("a", "b"), (Comparison(0, 1),))
    assert to_trl_rows(group) == [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    assert to_trl_rows(group, conversational=True)[0]["prompt"] == [{"role": "user", "content": "q"}]
    chat = parse_row(to_trl_rows(group, conversational=True)[0])
    with pytest.raises(DataError, match="chat template"):
        to_trl_rows(chat, conversational=False)
