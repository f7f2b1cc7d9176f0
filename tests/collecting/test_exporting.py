"""Votes as edges, soft labels and means, by hand."""

import pytest
from collecting_people import annotator, answer

from rewardsmith.collecting import export_groups
from rewardsmith.collecting.exporting import soft_edges
from rewardsmith.data.formats.rewardsmith import read_row, write_row
from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison


def test_soft_labels_count_votes_and_halve_ties():
    edges = [Comparison(0, 1, margin=2.0), Comparison(0, 1), Comparison(1, 0), Comparison(0, 1, "tie")]
    (edge,) = soft_edges(edges, 2)
    assert (edge.better, edge.worse, edge.probability, edge.weight) == (0, 1, 0.625, 4.0)
    assert edge.margin == 0.5


def test_votes_that_balance_are_one_tie():
    (edge,) = soft_edges([Comparison(0, 1), Comparison(1, 0)], 2)
    assert edge.is_tie
    assert edge.weight == 2


def test_a_repeat_is_no_second_vote(make):
    collection = make(12, repeats=0.5)
    person = annotator(collection)
    while answer(collection, person) is not None:
        pass
    groups = export_groups(collection.store, collection.project)
    assert sum(len(group.comparisons) for group in groups) == 12
    assert sum(one.get("again", False) for group in groups for one in group.metadata["judgements"]) > 0


def test_the_export_is_read_back_without_loss(make):
    collection = make(3, answers=3, task="ranking")
    person = annotator(collection)
    answer(collection, person, prefer=2)
    (group,) = export_groups(collection.store, collection.project)
    assert read_row(write_row(group), "row 1") == group
    assert {edge.better for edge in group.comparisons} == {2, 0}
    assert group.models == ("model-0", "model-1", "model-2")
    assert group.metadata["judgements"][0]["shown"]


def test_a_question_that_compares_nothing_is_refused(make):
    collection = make(1)
    with pytest.raises(ConfigError, match="overall"):
        export_groups(collection.store, collection.project, question="quality")
