"""What readers of published sets share, by hand: choices, strengths, runs of rows, cells that say nothing."""

import math
from datetime import UTC, datetime

import pytest

from rewardsmith.data.sets.published import (
    choice,
    compare,
    index_choice,
    iso_time,
    kept,
    known_number,
    mean,
    records,
    runs,
    signed_comparison,
)
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, PreferenceGroup


def test_scores_compare_all_pairs_that_have_one_and_equal_scores_tie():
    assert compare([2.0, None, 1.0, 2.0]) == (Comparison(0, 2), Comparison(0, 3, "tie"), Comparison(3, 2))
    assert compare([1.0, 2.0], lower_is_better=True) == (Comparison(0, 1),)


def test_a_signed_strength_is_a_direction_with_a_margin():
    assert signed_comparison(-2, "row 1", "s") == Comparison(0, 1, margin=2.0)
    assert signed_comparison(3, "row 1", "s", "rater 1") == Comparison(1, 0, margin=3.0, annotator="rater 1")
    assert signed_comparison(0, "row 1", "s") == Comparison(0, 1, "tie")
    with pytest.raises(RowError, match="must lie between -3 and 3"):
        signed_comparison(4, "row 1", "s")


def test_cells_that_say_nothing_are_unknown():
    assert [known_number(value, "row 1", "c") for value in (None, "N/A", math.nan, 2)] == [None, None, None, 2.0]
    assert mean([1.0, None, 3.0]) == 2.0
    assert mean([None]) is None
    assert kept({"a": None, "b": 0}, "a", "b", "c") == {"b": 0}


def test_a_choice_of_another_type_or_number_is_refused_with_what_is_accepted():
    assert choice("x", "row 1", "c", ("x", "y")) == "x"
    with pytest.raises(RowError, match="accepted: 'x', 'y'"):
        choice("z", "row 1", "c", ("x", "y"))
    assert [index_choice(value, "row 1", "c") for value in (0, 1.0)] == [0, 1]
    with pytest.raises(RowError, match="accepted: 0, 1"):
        index_choice(2, "row 1", "c")


def test_an_object_of_lists_is_a_list_of_objects():
    assert records({"a": [1, 2], "b": [3, 4]}, "row 1", "c") == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    with pytest.raises(RowError, match="differ in length"):
        records({"a": [1, 2], "b": [3]}, "row 1", "c")


def test_times_become_iso_text():
    assert iso_time(0) == iso_time(datetime(1970, 1, 1, tzinfo=UTC)) == "1970-01-01T00:00:00+00:00"
    assert iso_time(True) is None


def test_a_run_of_rows_is_one_group_and_a_refused_run_names_each_row():
    def part_of(row, where):
        return row["key"], row["answer"]

    def build(where, key, parts):
        if len(parts) < 2:
            raise row_error(where, "too few", "give two answers")
        return PreferenceGroup(key, tuple(parts), group_id=where)

    rows = [("row 1", {"key": "p", "answer": "a"}), ("row 2", {"key": "p", "answer": "b"})]
    first, second = runs([*rows, ("row 3", {"key": "q", "answer": "c"})], part_of, build)
    assert (first.group_id, first.completions) == ("row 1", ("a", "b"))
    assert second.reason == "too few"
