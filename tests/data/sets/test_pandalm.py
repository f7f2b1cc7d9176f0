from published_rows import ROWS

from rewardsmith.records import Comparison

ROW = ROWS["pandalm"][0]


def test_three_annotators_give_three_comparisons(read_published):
    (group,) = read_published("pandalm", [ROW])
    assert group.prompt[0].content == "Correct it.\n\nHe go."
    assert [side[0].content for side in group.completions] == ["He goes.", ""]
    assert group.comparisons == (
        Comparison(0, 1, annotator="annotator1"),
        Comparison(0, 1, "tie", annotator="annotator2"),
        Comparison(0, 1, annotator="annotator3"),
    )
    assert group.models == ("opt-7b", "llama-7b")
    assert group.metadata["majority"] == 1


def test_booleans_are_no_answers_and_three_opinions_have_no_majority(read_dirty):
    split = {**ROW, "annotator1": 2, "annotator2": 0, "annotator3": 1}
    found = read_dirty("pandalm", [{**ROW, "response1": True}, {**ROW, "annotator2": 3}, split])
    assert found.reasons == {"boolean answer": 1, "unknown label": 1}
    assert found.groups[0].metadata["majority"] is None
