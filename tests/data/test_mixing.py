"""A mixture takes the share it was asked for, and always the same groups."""

import pytest

from rewardsmith.data.mixing import (
    MixtureSource,
    Portion,
    describe_mixture,
    group_rank,
    mix_groups,
    plan_counts,
    rank_threshold,
)
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup


def test_counts_follow_caps_and_weights():
    assert plan_counts([10, 5], [Portion(), Portion()]) == [10, 5]
    assert plan_counts([10, 5], [Portion(cap=3), Portion()]) == [3, 5]
    assert plan_counts([100, 10, 7], [Portion(2), Portion(1), Portion()]) == [20, 10, 7]
    assert plan_counts([100, 10], [Portion(1, cap=4), Portion(2)]) == [4, 8]
    assert plan_counts([0, 10], [Portion(1), Portion(1)]) == [0, 0]


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
            Portion(**wrong)


def test_a_mixture_takes_the_lowest_ranks_of_a_source_and_not_its_first_rows():
    groups = [PreferenceGroup(f"p{i}", ("a", "b")) for i in range(100)]
    (half, rest) = mix_groups([groups, groups[:10]], [Portion(2), Portion(1)])
    assert (len(half), len(rest)) == (20, 10)
    lowest = sorted(groups, key=lambda group: group_rank(group, 0))[:20]
    assert sorted(half, key=groups.index) == half
    assert {group.prompt for group in half} == {group.prompt for group in lowest}


def test_equal_groups_at_the_threshold_keep_the_count_exact():
    groups = [PreferenceGroup("same", ("a", "b"))] * 9
    assert [len(chosen) for chosen in mix_groups([groups], [Portion(cap=4)])] == [4]


def test_an_entry_of_a_mixture_names_the_nearest_key():
    assert MixtureSource.read("pairs.jsonl", "datasets entry 0").path == "pairs.jsonl"
    with pytest.raises(ConfigError, match="datasets entry 3: unknown key 'fracton'; did you mean 'fraction'"):
        MixtureSource.read({"path": "x", "fracton": 1}, "datasets entry 3")


def test_a_mixture_says_what_it_takes_of_each_source_where_it_cuts_one():
    said = describe_mixture(["a.jsonl", "b.jsonl"], ["xxxx", "yy"], ["xx", "yy"])
    assert said == ["mixture by fractions: 2 of 4 groups of a.jsonl, 2 of 2 groups of b.jsonl"]
    assert describe_mixture(["a.jsonl"], ["xx"], ["xx"]) == []
