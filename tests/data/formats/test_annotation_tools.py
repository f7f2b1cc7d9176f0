"""Exports of annotation tools: judgements with their annotators."""

import pytest

from rewardsmith.data.detecting import parse_row
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison

PAIRWISE = {
    "id": 7,
    "data": {"prompt": "Which?", "text1": "left answer", "text2": "right answer"},
    "annotations": [
        {
            "completed_by": 3,
            "created_at": "2024-02-01T10:00:00Z",
            "result": [{"type": "pairwise", "to_name": "text1,text2", "value": {"selected": "right"}}],
        },
        {"completed_by": {"email": "a@b.c"}, "result": [{"type": "pairwise", "value": {"selected": "left"}}]},
        {"completed_by": 4, "was_cancelled": True, "result": []},
    ],
}


def test_label_studio_pairs_keep_annotator_and_time():
    group = parse_row(PAIRWISE)
    assert (group.prompt, group.completions) == ("Which?", ("left answer", "right answer"))
    assert group.comparisons == (
        Comparison(1, 0, annotator="3", time="2024-02-01T10:00:00Z"),
        Comparison(0, 1, annotator="a@b.c"),
    )
    assert group.group_id == "7"
    assert group.metadata == {"cancelled_annotations": 1}


def test_label_studio_rankings_order_the_items():
    items = [{"id": "x", "body": "one"}, {"id": "y", "body": "two"}, {"id": "z", "body": "three"}]
    result = {"type": "ranker", "value": {"ranker": {"rank": ["z", "x", "y"]}}}
    row = {"data": {"prompt": "p", "items": items}, "annotations": [{"completed_by": 1, "result": [result]}]}
    group = parse_row(row)
    assert {(c.better, c.worse) for c in group.comparisons} == {(2, 0), (2, 1), (0, 1)}
    result["value"]["ranker"] = {"good": ["z"], "bad": ["x", "y"]}
    with pytest.raises(DataError, match="2 buckets"):
        parse_row(row)


def test_argilla_rankings_and_labels():
    fields = {"prompt": "p", "first": "a", "second": "b"}
    ranking = [{"value": "first", "rank": 2}, {"value": "second", "rank": 1}]
    responses = {
        "order": [{"value": ranking, "user_id": "u1", "status": "submitted"}],
        "best": [{"value": "first", "user_id": "u2"}, {"value": "tie", "user_id": "u3"}],
        "comment": [{"value": "well done", "user_id": "u2"}, {"value": "x", "status": "draft"}],
    }
    group = parse_row({"id": "r1", "fields": fields, "responses": responses, "metadata": {"lang": "de"}})
    assert group.completions == ("a", "b")
    assert group.comparisons == (
        Comparison(1, 0, annotator="u1"),
        Comparison(0, 1, annotator="u2"),
        Comparison(0, 1, "tie", annotator="u3"),
    )
    assert group.metadata == {"lang": "de", "other_responses": {"not submitted": 1, "comment": 1}}


def test_argilla_of_the_first_generation():
    ranking = [{"value": "first", "rank": 1}, {"value": "second", "rank": 1}]
    responses = [{"user_id": "u", "status": "submitted", "values": {"order": {"value": ranking}}}]
    group = parse_row({"fields": {"first": "a", "second": "b"}, "responses": responses})
    assert group.comparisons == (Comparison(0, 1, "tie", annotator="u"),)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({**PAIRWISE, "annotations": []}, "annotate it"),
        ({**PAIRWISE, "data": {"prompt": "p", "only": "one"}}, "only"),
        ({"fields": {"a": "x", "b": "y"}, "responses": {}}, "annotate it"),
        ({"fields": {"a": "x", "b": "y"}, "responses": {"q": [{"value": [{"value": "a", "rank": 1}]}]}}, "rank all"),
        ({"instance_id": "1", "labels": {"p": {"selection": "A"}}}, "join labels"),
        ({"instance_id": "1", "responses": ["a", "b"], "labels": {"p": {"selection": "C"}}}, "A, B or tie"),
        ({"instance_id": "1", "responses": ["a", "b"], "labels": {}}, "leave the row out"),
    ],
)
def test_bad_exports_name_the_row_and_the_remedy(row, expected):
    with pytest.raises(DataError, match=r"export\.json:row 1: ") as caught:
        parse_row(row, "export.json:row 1")
    assert expected in str(caught.value)


def test_flat_records_of_argilla_read_as_the_nested_ones():
    ranking = [{"value": "first", "rank": 2}, {"value": "second", "rank": 1}]
    row = {
        "id": "r1",
        "status": "completed",
        "_server_id": "s1",
        "prompt": "p",
        "first": "a",
        "second": "b",
        "lang": "de",
        "order.responses": [ranking, [{"value": "first", "rank": 1}, {"value": "second", "rank": 1}], ranking],
        "order.responses.users": ["u1", "u2", "u3"],
        "order.responses.status": ["submitted", "submitted", "draft"],
        "order.suggestion": None,
        "comment.responses": ["fine"],
        "comment.responses.users": ["u1"],
        "comment.responses.status": ["submitted"],
    }
    group = parse_row(row)
    assert (group.prompt, group.completions) == ("p", ("a", "b"))
    assert group.comparisons == (Comparison(1, 0, annotator="u1"), Comparison(0, 1, "tie", annotator="u2"))
    assert group.metadata == {"lang": "de", "other_responses": {"not submitted": 1, "comment": 1}}
    label = {key: value for key, value in row.items() if not key.startswith("order") and key != "lang"}
    label |= {"best.responses": ["second"], "best.responses.users": ["u1"], "best.responses.status": ["submitted"]}
    assert parse_row(label).comparisons == (Comparison(1, 0, annotator="u1"),)
    with pytest.raises(DataError, match="no response ranks"):
        parse_row({**label, "best.responses": None})
