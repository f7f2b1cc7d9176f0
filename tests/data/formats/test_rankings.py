"""Rankings and scores round trip, and what is no ranking is refused."""

import pytest
from any_groups import NUMBERS
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats.rankings import to_ranking_row, to_scores_row
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, PreferenceGroup


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_a_ranking_row_round_trips(ranks):
    group = parse_row({"prompt": "p", "completions": [f"c{i}" for i in range(len(ranks))], "ranks": ranks})
    assert parse_row(to_ranking_row(group)) == group


@given(st.lists(NUMBERS, min_size=2, max_size=6))
def test_a_scores_row_round_trips(scores):
    group = parse_row({"prompt": "p", "completions": [f"c{i}" for i in range(len(scores))], "scores": scores})
    assert parse_row(to_scores_row(group)) == group


def test_comparisons_that_are_no_ranking_are_refused():
    cycle = PreferenceGroup("p", ("a", "b", "c"), (Comparison(0, 1), Comparison(1, 2), Comparison(2, 0)))
    partial = PreferenceGroup("p", ("a", "b", "c"), (Comparison(0, 1),))
    soft = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1, probability=0.7),))
    for group in (cycle, partial, soft):
        with pytest.raises(DataError, match="not those of one complete ranking"):
            to_ranking_row(group)


def test_ratings_by_attribute_are_read_and_compare_nothing():
    row = {"prompt": "q", "completions": ["a", "b"], "ratings": {"helpfulness": [4, None], "verbosity": [1, 2.5]}}
    group = parse_row(row)
    assert group.comparisons == ()
    assert group.ratings == {"helpfulness": (4.0, None), "verbosity": (1.0, 2.5)}
    with pytest.raises(DataError, match=r"ratings\.helpfulness\[1\]"):
        parse_row({**row, "ratings": {"helpfulness": [4, "three"]}})
    with pytest.raises(DataError, match="'helpfulness' has 1 entries for 2 completions"):
        parse_row({**row, "ratings": {"helpfulness": [4]}})
