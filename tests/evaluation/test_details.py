import numpy as np

from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.details import length_curve, margin_histogram, worst_disagreements
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup

HOW = Resampling(100, 0)


def test_a_histogram_counts_every_margin_once_and_never_mixes_right_and_wrong():
    values = np.random.default_rng(0).normal(0.5, 1.0, 500)
    found = margin_histogram(values)
    assert sum(found["counts"]) + found["below"] + found["above"] == found["n"] == 500
    assert 0.0 in [round(edge, 12) for edge in found["edges"]]
    assert found["wrong"] == int((values < 0).sum())
    assert margin_histogram(np.zeros(5))["ties"] == 5
    assert margin_histogram(np.array([]))["n"] == 0


def scored(count):
    return [
        ScoredGroup(
            PreferenceGroup(f"p{i}", ("x" * (i % 7 + 1), "y" * (i % 5 + 9)), (Comparison(0, 1),)),
            (0.0, float(i % 5 + 9)),
        )
        for i in range(count)
    ]


def test_the_length_curve_rises_for_a_reward_that_pays_for_length():
    rows = length_curve(scored(60), HOW)
    rewards = [row["reward"]["value"] for row in rows]
    assert rewards[0] < 0 < rewards[-1]
    assert [row["length"] for row in rows] == sorted(row["length"] for row in rows)
    assert length_curve([], HOW) == []


def test_the_worst_disagreements_are_the_most_negative_margins_one_a_prompt():
    rows = worst_disagreements(scored(30), 4)
    assert [row["margin"] for row in rows] == [-13.0] * 4
    assert len({row["prompt"] for row in rows}) == 4
    right = [ScoredGroup(PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),)), (1.0, 0.0))]
    assert worst_disagreements(right) == []
