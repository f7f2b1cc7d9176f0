"""What goes in, with its judgements, and what is counted out."""

import json

import pytest
from collecting_people import groups

from rewardsmith.collecting import export_groups
from rewardsmith.collecting.items import add_items, join_outputs, read_items
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, PreferenceGroup

ARGILLA = {
    "id": "1",
    "fields": {"prompt": "q", "a": "x", "b": "y"},
    "responses": {"rank": [{"value": [{"value": "a", "rank": 1}, {"value": "b", "rank": 1}], "user_id": "u"}]},
}
LABEL_STUDIO = {
    "id": 2,
    "data": {"prompt": "q2", "left": "x", "right": "y"},
    "annotations": [
        {"completed_by": 5, "result": [{"type": "pairwise", "to_name": "left,right", "value": {"selected": "right"}}]}
    ],
}
POTATO = {"instance_id": "3", "user_id": "p", "prompt": "q3", "left": "x", "right": "y"}
POTATO["labels"] = {"better": {"selection": "A"}}


@pytest.mark.parametrize(("row", "edge"), [(ARGILLA, "tie"), (LABEL_STUDIO, (1, 0)), (POTATO, (0, 1))])
def test_projects_of_other_tools_come_with_their_judgements(make, tmp_path, row, edge):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    collection = make(overlap=2)
    report = add_items(collection.store, collection.project, read_items([path]))
    assert (report.items, report.judgements) == (1, 1)
    ((one,),) = [group.comparisons for group in export_groups(collection.store, collection.project)]
    assert one.is_tie if edge == "tie" else (one.better, one.worse) == edge
    assert one.annotator.startswith("imported-")


def test_answers_without_a_judgement_are_what_people_are_asked_about(make, tmp_path):
    path = tmp_path / "answers.jsonl"
    rows = [
        {"prompt": "q", "completions": ["x", "y", "z"], "models": ["small", "large", "old"], "topic": "t"},
        {"prompt": [{"role": "user", "content": "q2"}], "completions": ["x", "y"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_items([path])
    assert (first.completions, first.models, first.metadata) == (
        ("x", "y", "z"),
        ("small", "large", "old"),
        {"topic": "t"},
    )
    assert second.prompt[0].content == "q2"
    collection = make(task="ranking")
    assert add_items(collection.store, collection.project, [first, second]).items == 2


def test_an_answer_without_its_model_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"prompt": "q", "responses": ["x", "y"], "models": ["small"]}) + "\n")
    with pytest.raises(DataError, match="row 1: 1 models for 2 answers"):
        read_items([path])


def test_pairs_are_cut_from_longer_lists_and_joined_again_in_the_export(make):
    collection = make()
    report = add_items(collection.store, collection.project, groups(2, 4))
    assert report.items == 12
    few = make(pairs=2)
    assert add_items(few.store, few.project, groups(2, 4)).items == 4


def test_what_cannot_be_asked_is_counted_by_reason(make):
    collection = make(task="ranking")
    odd = [PreferenceGroup("q", ("same", "same")), groups(1, 10)[0], groups(1, 3)[0], groups(1, 3)[0]]
    report = add_items(collection.store, collection.project, odd)
    assert report.items == 1
    assert dict(report.dropped) == {
        "fewer than two different answers": 1,
        "more than 9 answers": 1,
        "already there": 1,
    }


def test_gold_needs_a_right_answer(make):
    collection = make()
    right = PreferenceGroup("q", ("a", "b"), (Comparison(1, 0),))
    report = add_items(collection.store, collection.project, [right, *groups(1)], "gold")
    assert report.items == 1
    assert report.dropped["no right answer in the comparisons"] == 1


def test_an_answer_that_names_a_model_is_marked(make):
    collection = make()
    report = add_items(collection.store, collection.project, [PreferenceGroup("q", ("I am ChatGPT.", "I am not."))])
    assert report.names_model == 1


def test_outputs_without_an_answer_name_file_and_row(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n{"prompt": "q"}\n')
    with pytest.raises(DataError, match="row 2"):
        join_outputs([path])
