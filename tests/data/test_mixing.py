"""A mixture takes the share it was asked for, and always the same groups."""

import pytest

from rewardsmith.data.mixing import Share, group_rank, plan_counts, rank_threshold
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup


def test_counts_follow_caps_and_weights():
    assert plan_counts([10, 5], [Share(), Share()]) == [10, 5]
    assert plan_counts([10, 5], [Share(cap=3), Share()]) == [3, 5]
    assert plan_counts([100, 10, 7], [Share(2), Share(1), Share()]) == [20, 10, 7]
    assert plan_counts([100, 10], [Share(1, cap=4), Share(2)]) == [4, 8]
    assert plan_counts([0, 10], [Share(1), Share(1)]) == [0, 0]


def test_a_larger_cap_adds_groups_and_removes_none():
    groups = [PreferenceGroup(f"p{i}", ("a", "b")) for i in range(50)]
    ranks = [group_rank(group, 0) for group in groups]
    chosen = {n: {i for i, rank in enumerate(ranks) if rank <= rank_threshold(ranks, n)} for n in (0, 5, 20, 50, 99)}
    assert [len(chosen[n]) for n in (0, 5, 20, 50, 99)] == [0, 5, 20, 50, 50]
    assert chosen[5] < chosen[20] < chosen[50]
    assert ranks != [group_rank(group, 1) for group in groups]


def test_shares_that_take_nothing_are_refused():
    for wrong in ({"weight": 0}, {"weight": -1}, {"cap": 0}):
        with pytest.raises(ConfigError):
            Share(**wrong)
