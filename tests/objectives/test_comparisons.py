"""Comparisons as tensors: what labels and weights say."""

import math

import pytest
import torch
from by_hand import LN2, pair, rewards

from rewardsmith import objectives as o
from rewardsmith.errors import ConfigError
from rewardsmith.objectives.comparisons import language_loss, with_ties
from rewardsmith.records import Comparison, PreferenceGroup, judgements


def test_weights_count_and_zero_weights_do_not():
    scores = rewards(1.0, 0.0, 5.0)
    edges = o.make_comparisons([0, 1], [1, 2], weight=[3.0, 0.0])
    total, count = o.mean_over_comparisons(o.bradley_terry(scores, edges), edges.weight_P)
    assert count.item() == 3.0
    assert (total / count).item() == pytest.approx(o.bradley_terry(scores[:2], pair()).item())


def test_labels_are_read_as_the_record_reads_them():
    group = PreferenceGroup(
        "q",
        ("a", "b", "c"),
        (
            Comparison(0, 1, probability=0.2, margin=2.0),
            Comparison(0, 2, weight=0.0),
            Comparison(1, 2, probability=0.5),
            Comparison(2, 2),
            Comparison(2, 0, "tie", probability=0.9),
            Comparison(1, 0, probability=0.7),
        ),
    )
    judged = o.comparisons_of_groups([group]).judged()
    columns = (judged.better_P.tolist(), judged.worse_P.tolist(), judged.is_tie_P.tolist())
    read = [(j.better, j.worse, j.is_tie, pytest.approx(j.probability)) for j in judgements(group)]
    assert list(zip(*columns, judged.probability_P.tolist(), strict=True)) == read
    assert [row[:3] for row in read] == [(1, 0, False), (1, 2, True), (2, 2, True), (2, 0, True), (1, 0, False)]


def test_ties_keep_or_lose_their_weight_as_asked():
    edges = o.make_comparisons([0, 1, 2], [1, 2, 2], is_tie=[True, False, False])
    assert with_ties(edges, "half")[1] == 0
    skipped, count = with_ties(edges, "skip")
    assert (skipped.weight_P.tolist(), count) == ([0.0, 1.0, 0.0], 2)
    modelled, count = with_ties(edges, "model")
    assert (modelled.weight_P.tolist(), count) == ([1.0, 1.0, 0.0], 1)
    with pytest.raises(ConfigError, match="ties must be"):
        with_ties(edges, "drop")


def test_an_unknown_column_is_refused():
    with pytest.raises(ConfigError, match="not \\['weights'\\]"):
        o.make_comparisons([0], [1], weights=[1.0])


def test_bradley_terry_by_hand():
    # -log sigmoid(2 - 0.5) = log(1 + e^-1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair()).item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert o.bradley_terry(rewards(2.0, 0.5), pair(margin=1.0)).item() == pytest.approx(math.log1p(math.exp(-0.5)))
    soft = 0.8 * math.log1p(math.exp(-1.5)) + 0.2 * (math.log1p(math.exp(-1.5)) + 1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair(probability=0.8)).item() == pytest.approx(soft)
    smoothed = 0.9 * math.log1p(math.exp(-1.5)) + 0.1 * (math.log1p(math.exp(-1.5)) + 1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair(), label_smoothing=0.1).item() == pytest.approx(smoothed)
    assert o.bradley_terry(rewards(1.0, 1.0), pair(is_tie=True)).item() == pytest.approx(LN2)


def test_scaled_bradley_terry_multiplies_by_the_margin():
    plain = o.bradley_terry(rewards(1.0, 0.0), pair()).item()
    assert o.scaled_bradley_terry(rewards(1.0, 0.0), pair(margin=3.0)).item() == pytest.approx(3 * plain)
    assert o.scaled_bradley_terry(rewards(1.0, 0.0), pair()).item() == pytest.approx(plain)


def test_swapping_a_soft_pair_swaps_its_label():
    scores = rewards(0.9, -0.3)
    swapped = o.make_comparisons([1], [0], probability=[0.3])
    assert o.bradley_terry(scores, pair(probability=0.7)).item() == pytest.approx(
        o.bradley_terry(scores, swapped).item()
    )


def test_hinge_by_hand():
    assert o.hinge(rewards(1.0, 0.5), pair()).item() == pytest.approx(0.5)
    assert o.hinge(rewards(3.0, 0.5), pair()).item() == 0.0
    assert o.hinge(rewards(1.0, 0.5), pair(margin=2.0)).item() == pytest.approx(1.5)


def test_a_tie_asks_for_no_lead_and_a_margin_of_none_is_refused():
    assert o.hinge(rewards(1.0, 0.5), pair(is_tie=True)).item() == pytest.approx(0.25)
    with pytest.raises(ConfigError, match="default_margin must be positive"):
        o.hinge(rewards(1.0, 0.5), pair(), default_margin=0.0)


def test_regularisers_by_hand():
    scores = rewards(2.0, -0.5)
    assert o.centring(scores, pair()).item() == pytest.approx(2.25)
    assert o.l2_on_rewards(scores, pair(), beta=0.001).item() == pytest.approx(0.0005 * (4 + 0.25))


def test_a_negative_coefficient_is_refused():
    with pytest.raises(ConfigError, match="beta must be >= 0"):
        o.l2_on_rewards(rewards(1.0, 0.5), pair(), beta=-1.0)


def test_the_language_model_loss_is_of_the_chosen_sides_and_ties_have_none():
    judged = o.make_comparisons(
        [0, 0, 2], [1, 2, 1], is_tie=[False, True, False], weight=[1.0, 1.0, 2.0], probability=[1.0, 0.5, 0.2]
    )
    losses_P, weight_P = language_loss(torch.tensor([3.0, 5.0, 7.0]), judged)
    assert losses_P.tolist() == [3.0, 3.0, 5.0]
    assert weight_P.tolist() == [1.0, 0.0, 2.0]
