from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

WHOLE = ROWS["evalbiasbench"][0]


def test_the_object_of_biases_is_taken_apart(read_published):
    first, second = read_published("evalbiasbench", [WHOLE])
    assert (first.comparisons, second.comparisons) == ((Comparison(0, 1),), (Comparison(1, 0),))
    assert [group.metadata["subset"] for group in (first, second)] == ["length bias", "concreteness"]


def test_rows_in_memory_are_taken_apart_too():
    data = load_preferences([WHOLE])
    assert (data.report.rows, data.report.reader) == (2, "evalbiasbench")


def test_broken_pairs_are_counted(read_dirty):
    pair = WHOLE["length bias"][0]
    found = read_dirty("evalbiasbench", [{**WHOLE, "length bias": [pair, "x", {**pair, "label": 0}]}])
    assert found.reasons == {"missing column": 1, "unknown label": 1}
    assert len(found.groups) == 2
