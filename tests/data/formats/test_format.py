"""What a layout cannot hold is counted by its kind when groups are written in it."""

from rewardsmith.data.formats import TARGETS
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.records import Comparison, PreferenceGroup


def test_ties_and_columns_that_a_layout_lacks_are_counted():
    edges = (Comparison(0, 1, margin=2.0, annotator="ann"), Comparison(1, 2, "tie"))
    report = ConvertReport.empty()
    rows = convert_group(PreferenceGroup("q", ("a", "b", "c"), edges), TARGETS["axolotl"], report)
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("a", "b")]
    assert (report.groups, report.rows, report.lost["ties"]) == (1, 1, 1)
    assert (report.lost["margins"], report.lost["annotators"], report.lost["completions in no row"]) == (1, 1, 1)
    assert report.lost["plain text (written as messages)"] == 1


def test_a_group_that_a_layout_refuses_is_counted_by_the_reason():
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    from rewardsmith.data import parse_row

    group = parse_row({"prompt": turns, "chosen": turns[1:2], "rejected": [{"role": "assistant", "content": "y"}]})
    report = ConvertReport.empty()
    assert convert_group(group, TARGETS["axolotl"], report) == []
    assert report.refused == {"several turns": 1}
