"""x"""

import math

import numpy as np
import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import (
    AXES,
    best_of_k,
    kendall_tau_b,
    length_curve,
    margin_histogram,
    measure,
    ndcg,
    prompt_clusters,
    reciprocal_rank,
    split_by,
    stratum,
    worst_disagreements,
)
from rewardsmith.records import Comparison, Message, PreferenceGroup

RANKED = (Comparison(0, 1), Comparison(0, 2), Comparison(1, 2))


def group(rewards, edges=RANKED, prompt="p"):
    return ScoredGroup(PreferenceGroup(prompt, tuple(f"c{i}" for i in range(len(rewards))), edges), tuple(rewards))


def test_pair_metrics_by_hand():
    scored = [group([r, 0.0], (Comparison(0, 1),), f"p{i}") for i, r in enumerate((2.0, 0.0, -1.0, 3.0))]
    found = {name: estimate.value for name, estimate in measure(scored, Resampling(100)).items()}
    assert (found["accuracy_strict"], found["accuracy"], found["reward_tie_rate"], found["margin"]) == (
        0.5,
        0.625,
        0.25,
        1.0,
    )


def test_swapping_every_pair_gives_one_minus_accuracy():
    there = [group([r, 0.0], (Comparison(0, 1),), f"p{i}") for i, r in enumerate((2.0, 0.0, -1.0, 3.0))]
    back = [group(item.rewards, (Comparison(1, 0),), item.group.prompt) for item in there]
    one, other = (measure(s, Resampling(100))["accuracy"].value for s in (there, back))
    assert one == 1 - other


def test_best_of_k_shares_credit_at_the_top():
    assert best_of_k(group([3.0, 3.0, 1.0])) == 0.5
    assert best_of_k(group([3.0, 2.0, 1.0])) == 1.0
    assert math.isnan(best_of_k(group([1.0, 2.0], (Comparison(0, 1, "tie"),))))


def test_rank_metrics_by_hand():
    item = group([2.0, 3.0, 1.0])
    assert reciprocal_rank(item) == 0.5
    assert kendall_tau_b(item) == pytest.approx(1 / 3)
    ideal = 4 + 2 / math.log2(3)
    assert ndcg(item) == pytest.approx((2 + 4 / math.log2(3)) / ideal)


def test_a_soft_label_below_half_turns_the_pair():
    item = group([0.0, 1.0], (Comparison(0, 1, probability=0.2),))
    assert measure([item], Resampling(10))["accuracy"].value == 1.0


def test_rewards_that_are_missing_or_not_finite_are_errors():
    with pytest.raises(ScoringError, match="2 rewards for 3"):
        ScoredGroup(PreferenceGroup("p", ("a", "b", "c")), (1.0, 2.0))
    with pytest.raises(ScoringError, match="not finite"):
        group([math.nan, 1.0, 2.0])


def test_dialogues_without_a_prompt_are_clustered_by_the_turns_they_share():
    def dialogue(question, better, worse):
        texts = tuple(f"\n\nHuman: {question}\n\nAssistant: {answer}" for answer in (better, worse))
        return ScoredGroup(PreferenceGroup("", texts, (Comparison(0, 1),)), (1.0, 0.0))

    scored = [
        dialogue("one", "x", "xy"),
        dialogue("two", "x", "y"),
        dialogue("one", "z", "w"),
        group([1, 0, 0], prompt=""),
    ]
    assert prompt_clusters(scored) == [0, 1, 0, 2]


def scored(prompt="p", completions=("a", "b"), **fields):
    group = PreferenceGroup(prompt, completions, (Comparison(0, 1),), **fields)
    return ScoredGroup(group, tuple(0.0 for _ in completions))


def test_source_subset_and_language_come_from_the_group():
    item = scored(source="hh", metadata={"subset": "chat", "language": "de"})
    assert [stratum(item.group, axis) for axis in AXES[:3]] == ["hh", "chat", "de"]
    assert stratum(scored().group, "language") is None


def test_lengths_stand_in_order_of_length():
    items = [scored(completions=("x" * size, "x" * size)) for size in (5000, 20, 3000, 500)]
    assert list(split_by(items, "length")) == [
        "0-199 characters",
        "200-999 characters",
        "1000-3999 characters",
        "4000+ characters",
    ]


def test_turns_are_what_people_said_in_messages_and_in_dialogues():
    turns = [Message("user", "q"), Message("assistant", "a")] * 2 + [Message("user", "q")]
    assert stratum(scored(tuple(turns)).group, "turns") == "2-3 turns"
    dialogue = "\n\nHuman: q\n\nAssistant: a" * 4
    assert stratum(scored("", (dialogue + " x", dialogue + " y")).group, "turns") == "4+ turns"
    assert stratum(scored().group, "turns") == "1 turn"


def test_groups_without_the_axis_are_left_out():
    assert split_by([scored(), scored(source="a")], "source").keys() == {"a"}


HOW = Resampling(100, 0)


def test_a_histogram_counts_every_margin_once_and_never_mixes_right_and_wrong():
    values = np.random.default_rng(0).normal(0.5, 1.0, 500)
    found = margin_histogram(values)
    assert sum(found["counts"]) + found["below"] + found["above"] == found["n"] == 500
    assert 0.0 in [round(edge, 12) for edge in found["edges"]]
    assert found["wrong"] == int((values < 0).sum())
    assert margin_histogram(np.zeros(5))["ties"] == 5
    assert margin_histogram(np.array([]))["n"] == 0


def scored_pairs(count):
    return [
        ScoredGroup(
            PreferenceGroup(f"p{i}", ("x" * (i % 7 + 1), "y" * (i % 5 + 9)), (Comparison(0, 1),)),
            (0.0, float(i % 5 + 9)),
        )
        for i in range(count)
    ]


def test_the_length_curve_rises_for_a_reward_that_pays_for_length():
    rows = length_curve(scored_pairs(60), HOW)
    rewards = [row["reward"]["value"] for row in rows]
    assert rewards[0] < 0 < rewards[-1]
    assert [row["length"] for row in rows] == sorted(row["length"] for row in rows)
    assert length_curve([], HOW) == []


def test_the_worst_disagreements_are_the_most_negative_margins_one_a_prompt():
    rows = worst_disagreements(scored_pairs(30), 4)
    assert [row["margin"] for row in rows] == [-13.0] * 4
    assert len({row["prompt"] for row in rows}) == 4
    right = [ScoredGroup(PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),)), (1.0, 0.0))]
    assert worst_disagreements(right) == []
