"""Comparisons as tensors: what labels and weights say."""

import pytest
from by_hand import pair, rewards

from rewardsmith import objectives as o
from rewardsmith.errors import ConfigError
from rewardsmith.objectives.comparisons import with_ties
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
