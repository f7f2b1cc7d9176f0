"""Votes as edges, soft labels and means, by hand."""

import pytest
from collecting_people import annotator, answer

from rewardsmith.collecting import export_groups, exporting
from rewardsmith.collecting.exporting import soft_edges
from rewardsmith.data.formats.rewardsmith import read_row, write_row
from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison


def test_soft_labels_count_votes_and_halve_ties():
    edges = [Comparison(0, 1, margin=2.0), Comparison(0, 1), Comparison(1, 0), Comparison(0, 1, "tie")]
    (edge,) = soft_edges(edges, 2)
    assert (edge.better, edge.worse, edge.probability, edge.weight) == (0, 1, 0.625, 4.0)
    assert (edge.margin, edge.tie_share) == (0.5, 0.25)


def test_votes_that_balance_are_one_tie():
    (edge,) = soft_edges([Comparison(0, 1), Comparison(1, 0)], 2)
    assert edge.is_tie
    assert (edge.weight, edge.tie_share) == (2, 0.0)
    (edge,) = soft_edges([Comparison(0, 1, "tie"), Comparison(0, 1, "tie")], 2)
    assert (edge.tie_share, edge.tie_votes) == (None, 1.0)


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


def test_judgements_of_several_pairs_of_one_prompt_name_the_answers_of_the_whole(make):
    collection = make(1, 3, repeats=0)
    person = annotator(collection)
    texts = []
    while (found := answer(collection, person, 0)) is not None:
        texts.append([found[0].completions[number] for number in (0, 1)])
    (group,) = export_groups(collection.store, collection.project)
    said = [one["answers"]["overall"]["order"] for one in group.metadata["judgements"]]
    assert len(said) == 3
    assert sorted([group.completions[n] for (n,) in order] for order in said) == sorted(texts)
    assert all(
        set(one["shown"]) == {n for (n,) in order}
        for one, order in zip(group.metadata["judgements"], said, strict=False)
    )


def test_what_is_judged_while_items_are_read_is_in_none_of_them(make, monkeypatch):
    collection = make(4, repeats=0)
    first, second = annotator(collection, "ann"), annotator(collection, "bob")
    answer(collection, first)
    monkeypatch.setattr(exporting, "PIECE", 1)
    read = exporting._load_piece

    def judged_meanwhile(store, numbers, last):
        answer(collection, second)
        return read(store, numbers, last)

    monkeypatch.setattr(exporting, "_load_piece", judged_meanwhile)
    assert sum(len(item.judgements) for item in exporting.load_items(collection.store)) == 1
    monkeypatch.setattr(exporting, "_load_piece", read)
    assert sum(len(item.judgements) for item in exporting.load_items(collection.store)) == 3
    assert [item.item_id for item in exporting.load_items(collection.store, numbers=[3, 10**30, -1])] == [3]
