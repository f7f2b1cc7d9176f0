"""Rules that read no meaning, on rows whose answer is known; and the ceiling that raters' noise sets."""

import math

import pytest

from rewardsmith.evaluation.baselines import RULES, noise_ceiling, vote_shares
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Message, PreferenceGroup

GROUP = PreferenceGroup("p", ("# Title\n- one\n- **two**", "a plain answer that is longer than the other"))


@pytest.mark.parametrize(("rule", "winner"), [("longest", 1), ("shortest", 0), ("most_markdown", 0)])
def test_each_rule_prefers_what_its_name_says(rule, winner):
    rewards = RULES[rule](GROUP)
    assert rewards.index(max(rewards)) == winner


def test_length_and_markdown_are_read_from_messages_too():
    turns = tuple((Message("assistant", text),) for text in GROUP.completions)
    for rule in ("longest", "most_markdown"):
        assert RULES[rule](PreferenceGroup("p", turns)) == RULES[rule](GROUP)


def test_the_random_rule_is_the_same_in_every_run_and_fair():
    groups = [PreferenceGroup(f"p{i}", ("a", "b")) for i in range(2000)]
    first = [RULES["random"](group) for group in groups]
    assert first == [RULES["random"](group) for group in groups]
    assert sum(a > b for a, b in first) / 2000 == pytest.approx(0.5, abs=0.04)


def test_one_rater_gives_no_ceiling():
    group = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),))
    ceiling = noise_ceiling([ScoredGroup(group, (0.0, 1.0))], 10)
    assert (math.isnan(ceiling.value), ceiling.n) == (True, 0)


def test_votes_and_soft_labels_both_give_shares_and_judged_ties_give_none():
    votes = (Comparison(0, 1), Comparison(1, 0), Comparison(0, 1, "tie"), Comparison(0, 1))
    soft = (Comparison(0, 1, probability=0.2),)
    groups = [PreferenceGroup("p", ("a", "b"), votes), PreferenceGroup("q", ("a", "b"), soft)]
    assert vote_shares(groups) == [(2 / 3, 0), (0.8, 1)]
    assert noise_ceiling([ScoredGroup(group, (0.0, 1.0)) for group in groups], 10).value == pytest.approx(11 / 15)


def test_what_accuracy_does_not_count_is_not_in_the_ceiling():
    edges = (Comparison(0, 1, probability=0.5), Comparison(0, 1, probability=0.9, weight=0.0))
    votes = (Comparison(0, 1), Comparison(0, 1, weight=0.0), Comparison(1, 0, weight=0.0))
    assert vote_shares([PreferenceGroup("p", ("a", "b"), edges), PreferenceGroup("q", ("a", "b"), votes)]) == []


def pair_with(*edges):
    return PreferenceGroup("p", ("a", "b"), edges)


def test_repeated_rows_without_raters_that_never_differ_are_copies_and_give_no_ceiling():
    copies = pair_with(Comparison(0, 1), Comparison(0, 1))
    assert vote_shares([copies, copies]) == []
    assert vote_shares([copies, pair_with(Comparison(0, 1), Comparison(1, 0))]) == [(1.0, 0), (0.5, 1)]


def test_named_raters_who_agree_are_raters_and_each_counts_once():
    named = pair_with(Comparison(0, 1, annotator="x"), Comparison(0, 1, annotator="y"))
    assert vote_shares([named]) == [(1.0, 0)]
    again = pair_with(Comparison(0, 1, annotator="x"), Comparison(0, 1, annotator="x"))
    assert vote_shares([again]) == []
    outvoted = pair_with(*(Comparison(0, 1, annotator=who) for who in "xyx"), Comparison(1, 0, annotator="z"))
    assert vote_shares([outvoted]) == [(2 / 3, 0)]
