"""Judgements that Potato exports: rows, and folders that are joined with their items."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.data import load_preferences
from rewardsmith.data.detecting import parse_row
from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison


def test_potato_judgements_of_one_item_merge_into_one_group():
    item = {"instance_id": "1", "prompt": "p", "responses": ["a", "b"]}
    rows = [
        {**item, "user_id": "u1", "labels": {"preference": {"selection": "B"}, "why": "shorter"}},
        {**item, "user_id": "u2", "labels": {"preference": {"selection": "tie"}}},
        {**item, "user_id": "u3", "labels": {"strength": {"scale_value": "-2"}}},
    ]
    (group,) = merge_groups([parse_row(row) for row in rows])
    assert group.completions == ("a", "b")
    assert group.comparisons == (
        Comparison(1, 0, annotator="u1"),
        Comparison(0, 1, "tie", annotator="u2"),
        Comparison(0, 1, margin=2.0, annotator="u3"),
    )


def test_potato_rankings_share_ranks_between_equals():
    item = {"instance_id": "1", "responses": ["a", "b", "c", "d"], "user_id": "u"}
    group = parse_row({**item, "labels": {"quality": {"rank_order": "B,D=A,C"}}})
    better = {(c.better, c.worse) for c in group.comparisons if c.outcome == "better"}
    assert better == {(1, 0), (1, 2), (1, 3), (0, 2), (3, 2)}
    assert group.num_ties == 1
    with pytest.raises(DataError, match="must order A, B, C, D once each"):
        parse_row({**item, "labels": {"quality": {"rank_order": "A,B,C"}}})


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_folder_that_potato_exports_is_joined_with_its_items(tmp_path, kind):
    items = [{"id": n, "prompt": f"q{n}", "responses": [f"a{n}", f"b{n}"]} for n in (1, 2)]
    answers = [(1, "u1", "A"), (2, "u1", "tie"), (1, "u2", "B"), (9, "u2", "A")]
    flat = [{"instance_id": str(i), "user_id": u, "preference.selection": s, "why": "x"} for i, u, s in answers]
    if kind == "jsonl":
        nested = [
            {"instance_id": str(i), "user_id": u, "labels": {"preference": {"selection": s}}, "spans": {}, "links": {}}
            for i, u, s in answers
        ]
        (tmp_path / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in nested))
        (tmp_path / "data.json").write_text(json.dumps(items))
    elif kind == "csv":
        with (tmp_path / "annotations.csv").open("w", newline="") as text:
            writer = csv.DictWriter(text, flat[0])
            writer.writeheader()
            writer.writerows(flat)
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    else:
        stored = [
            {"item_id": str(item["id"]), "prompt": item["prompt"], "responses": json.dumps(item["responses"])}
            for item in items
        ]
        pq.write_table(pa.Table.from_pylist(flat), tmp_path / "annotations.parquet")
        pq.write_table(pa.Table.from_pylist(stored), tmp_path / "items.parquet")
    data = load_preferences(tmp_path, on_error="count")
    first, second = data
    assert (first.prompt, first.completions) == ("q1", ("a1", "b1"))
    assert first.comparisons == (Comparison(0, 1, annotator="u1"), Comparison(1, 0, annotator="u2"))
    assert second.comparisons == (Comparison(0, 1, "tie", annotator="u1"),)
    assert (data.report.rows, data.report.dropped) == (4, {"unclear columns": 1})
