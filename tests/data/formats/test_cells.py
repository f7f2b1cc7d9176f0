"""A cell is accepted or refused by an error that names the row, the column and the reason it is counted under."""

import math

import pytest

from rewardsmith.data.formats.cells import check_flag, check_list, check_mapping, check_number, check_text, require
from rewardsmith.errors import RowError


@pytest.mark.parametrize(
    ("check", "value"),
    [(check_text, 3), (check_list, "a"), (check_mapping, [1]), (check_number, "x"), (check_flag, "maybe")],
)
def test_a_cell_of_another_kind_is_refused_with_row_and_column(check, value):
    with pytest.raises(RowError, match=r"pairs\.jsonl:row 3.*answer") as caught:
        check(value, "pairs.jsonl:row 3", "answer")
    assert caught.value.reason


def test_numbers_must_be_finite():
    assert check_number(2, "row 1", "score") == 2.0
    with pytest.raises(RowError, match="score"):
        check_number(math.inf, "row 1", "score")


def test_a_missing_column_is_named():
    assert require({"prompt": "q"}, "prompt", "row 1") == "q"
    with pytest.raises(RowError, match="prompt") as caught:
        require({"question": "q"}, "prompt", "row 1")
    assert caught.value.reason == "missing column"
