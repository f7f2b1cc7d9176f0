from published_rows import ROWS

from rewardsmith.data.merging import merge_groups
from rewardsmith.records import Comparison

ROW = ROWS["llm-summarization"][0]


def test_false_prefers_the_model_and_each_evaluator_is_named(read_published):
    rows = [ROW, {**ROW, "evaluator_id": "e2", "overall_writer_better": True}]
    groups = read_published("llm-summarization", rows)
    (merged,) = merge_groups(groups)
    assert merged.comparisons == (Comparison(1, 0, annotator="e1"), Comparison(0, 1, annotator="e2"))
    assert merged.models == ("writer w1", "text-davinci-002")
    assert groups[0].metadata == {"informative": "tie"}


def test_the_second_question_can_be_named(read_published):
    (group,) = read_published("llm-summarization:informative", [ROW])
    assert group.comparisons == (Comparison(0, 1, "tie", annotator="e1"),)


def test_verdicts_in_text_form_are_read_and_unknown_ones_counted(read_dirty):
    found = read_dirty("llm-summarization", [{**ROW, "overall_writer_better": v} for v in ("True", "false", "maybe")])
    assert [group.comparisons[0].better for group in found.groups] == [0, 1]
    assert found.reasons == {"unknown label": 1}
