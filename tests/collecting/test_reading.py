"""What people are asked about, from files of every kind, with the judgements that they hold or without."""

import json
from collections import Counter

import pytest

from rewardsmith.collecting import export_groups
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.reading import is_output_file, is_tool_project, is_unjudged_file, join_outputs, read_items
from rewardsmith.errors import DataError, RowError

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


def write(path, rows):
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def ranks(user, first, second, status="submitted"):
    value = [{"value": "answer_a", "rank": first}, {"value": "answer_b", "rank": second}]
    return {"value": value, "user_id": user, "status": status}


def record(number, responses, **fields):
    texts = {"instruction": f"q{number}", "answer_a": f"a{number}", "answer_b": f"b{number}", **fields}
    suggestion = {"pref": {"value": "answer_a", "score": None, "agent": "a model"}}
    return {"id": str(number), "fields": texts, "responses": responses, "suggestions": suggestion, "vectors": {}}


def test_records_of_argilla_come_with_what_people_submitted_and_without_it(make, tmp_path):
    rows = [
        record(1, {"pref": [ranks("u1", 1, 2), ranks("u2", 2, 1)], "why": [{"value": "so", "user_id": "u1"}]}),
        record(2, {}),
        record(3, {"pref": [ranks("u1", 1, 2, "discarded"), ranks("u2", 1, 2, "draft")]}),
        record(4, {"pref": [{"value": None, "user_id": "u1", "status": "discarded"}]}),
        record(5, {"pref": [ranks("u1", 1, 1)]}, context="a passage"),
        record(6, {"pref": [ranks("u1", 2, 1)]}, instruction=[{"role": "user", "content": "q6"}]),
    ]
    found = read_items([write(tmp_path / "argilla.json", rows)])
    assert [len(group.comparisons) for group in found] == [2, 0, 0, 0, 1, 1]
    assert [group.prompt for group in found[:5]] == ["q1", "q2", "q3", "q4", "q5"]
    assert found[4].metadata["other_fields"] == {"context": "a passage"}
    collection = make()
    report = add_items(collection.store, collection.project, found)
    assert (report.items, report.judgements) == (6, 4)


def test_a_field_that_a_record_of_argilla_leaves_empty_is_no_answer(tmp_path):
    value = [{"value": name, "rank": n} for n, name in enumerate(("answer_a", "answer_b", "answer_c"), 1)]
    row = record(1, {"pref": [{"value": value, "user_id": "u", "status": "submitted"}]}, answer_c=None)
    (group,) = read_items([write(tmp_path / "argilla.json", [row])])
    assert group.completions == ("a1", "b1")
    assert [(edge.better, edge.worse) for edge in group.comparisons] == [(0, 1)]


def test_tasks_of_label_studio_come_with_annotations_drafts_and_predictions(tmp_path):
    pair = {"type": "pairwise", "from_name": "pw", "to_name": "answer1,answer2", "value": {"selected": "left"}}
    text = {"type": "textarea", "from_name": "why", "value": {"text": ["it helps"]}}
    items = [{"id": name, "title": name, "body": f"text {name}"} for name in "abc"]
    ranker = {"type": "ranker", "value": {"ranker": {"rank": ["c", "a", "b"]}}}
    rows = [
        {"data": {"text": "p1", "answer1": "x", "answer2": "y"}, "annotations": [
            {"completed_by": {"id": 1, "email": "a@b.example"}, "result": [pair, text], "was_cancelled": False},
            {"completed_by": 2, "result": [pair | {"value": {"selected": "right"}}]}]},
        {"data": {"prompt": "p2", "answer1": "x", "answer2": "y"}, "annotations": [], "drafts": [{"result": [pair]}]},
        {"data": {"prompt": "p3", "answer1": "x", "answer2": "y"}, "predictions": [{"result": [pair]}],
         "annotations": [{"completed_by": 1, "result": [], "was_cancelled": True}]},
        {"data": {"prompt": "p4", "items": items}, "annotations": [{"completed_by": 1, "result": [ranker]}]},
        {"data": {"prompt": [{"role": "user", "content": "p5"}], "items": items}, "annotations": []},
    ]  # fmt: skip
    found = read_items([write(tmp_path / "tasks.json", [{"id": n, **row} for n, row in enumerate(rows)])])
    assert [len(group.comparisons) for group in found] == [2, 0, 0, 3, 0]
    assert [len(group) for group in found] == [2, 2, 2, 3, 3]
    assert found[0].prompt == "p1"
    assert {edge.annotator for edge in found[0].comparisons} == {"a@b.example", "2"}


def test_rows_of_potato_come_by_annotator_and_unanswered(tmp_path):
    rows = [
        {**POTATO, "user_id": "q", "labels": {"better": {"selection": "B"}}},
        POTATO,
        {**POTATO, "instance_id": "4", "prompt": "q4", "labels": {}},
        {**POTATO, "instance_id": "5", "prompt": "q5", "labels": {"better": {"selection": None}, "why": {"text": "?"}}},
    ]
    found = read_items([write(tmp_path / "potato.jsonl", rows)])
    assert [len(group.comparisons) for group in found] == [2, 0, 0]


def test_a_record_that_holds_no_two_answers_names_its_row_or_is_counted(tmp_path):
    rows = [record(1, {"pref": [ranks("u1", 1, 2)]}), record(2, {}, answer_b=None)]
    path, dropped = write(tmp_path / "argilla.json", rows), Counter()
    with pytest.raises(RowError, match=r"row 1|row 2"):
        read_items([path])
    assert len(read_items([path], dropped=dropped, skip_bad=True)) == 1
    assert sum(dropped.values()) == 1


def test_dirty_rows_of_other_files_are_counted_too(tmp_path):
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q2", "chosen": 5, "rejected": "b"}]
    path, dropped = write(tmp_path / "pairs.jsonl", rows), Counter()
    with pytest.raises(DataError, match="row 2"):
        read_items([path])
    assert len(read_items([path], dropped=dropped, skip_bad=True)) == 1
    assert sum(dropped.values()) == 1


@pytest.mark.parametrize("names", [("left", "right"), ("response_a", "response_b"), ("response_1", "response_2")])
def test_two_answers_side_by_side_need_no_judgement(tmp_path, names):
    path = write(tmp_path / "sides.jsonl", [{"prompt": "q", names[0]: "x", names[1]: "y", "topic": "t"}])
    assert is_unjudged_file(path)
    (group,) = read_items([path])
    assert (group.completions, group.comparisons, group.metadata) == (("x", "y"), (), {"topic": "t"})


def test_a_published_set_whose_rows_look_like_outputs_is_read_as_that_set(tmp_path):
    row = {"input": "2 + 2?", "steps": ["two and two", "are five"], "answer": "5", "target": "4", "mistake_index": 1}
    path = write(tmp_path / "any.jsonl", [row])
    assert not is_output_file(path)
    (group,) = read_items([path])
    assert group.metadata["steps"] == ["two and two", "are five"]


def test_kinds_of_files_are_told_apart_by_their_first_row(tmp_path):
    outputs = write(tmp_path / "small.jsonl", [{"prompt": "q", "response": "a"}])
    lists = write(tmp_path / "lists.jsonl", [{"prompt": "q", "responses": ["a", "b"]}])
    tool = write(tmp_path / "tool.json", [ARGILLA])
    empty = write(tmp_path / "empty.jsonl", [])
    for check, expected in ((is_output_file, outputs), (is_unjudged_file, lists), (is_tool_project, tool)):
        assert [check(path) for path in (outputs, lists, tool, empty)] == [
            path is expected for path in (outputs, lists, tool, empty)
        ]


def test_outputs_without_an_answer_name_file_and_row(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n{"prompt": "q"}\n')
    with pytest.raises(DataError, match="row 2"):
        join_outputs([path])


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ({"prompt": "q", "completions": ["a", "b"]}, {"prompt": "q"}, "no prompt with answers"),
        ({"prompt": "q", "response": "a"}, {"prompt": "q"}, "no prompt or no answer"),
    ],
)
def test_rows_that_nobody_judged_and_cannot_be_used_are_skipped_where_it_is_asked_for(tmp_path, good, bad, reason):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(f"{line}\n" for line in (json.dumps(good), json.dumps(bad), '{"prompt": ', json.dumps(good)))
    )
    with pytest.raises(DataError, match="row 2"):
        read_items([path])
    lost = Counter()
    assert read_items([path], dropped=lost, skip_bad=True)
    assert (lost[reason], lost.total()) == (1, 2)
