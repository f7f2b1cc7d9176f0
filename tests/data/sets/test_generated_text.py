"""Outputs of summarisers, dialogue systems and translators as people judged them."""

import json

import pytest
from published_ratings import chat_output
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.records import Comparison

SUMMEVAL_ROW = ROWS["summeval"][0]


def test_summaries_are_compared_by_the_mean_of_four_attributes(read_published):
    (group,) = read_published("summeval", [SUMMEVAL_ROW])
    assert group.prompt == "Article: A long story.\n\nSummary: "
    assert group.comparisons == (Comparison(0, 1),)
    assert group.ratings["coherence"] == (4.0, 5.0)
    assert group.models == ("M1", "M2")


@pytest.mark.parametrize(("attribute", "better"), [("coherence", 1), ("consistency", 0)])
def test_one_attribute_can_be_named(attribute, better, read_published):
    (group,) = read_published(f"summeval:{attribute}", [SUMMEVAL_ROW])
    assert group.comparisons[0].better == better


def test_a_missing_rating_is_counted_only_where_it_is_needed(read_dirty):
    first, second = SUMMEVAL_ROW["summaries"]
    less = {**SUMMEVAL_ROW, "summaries": [{**first, "fluency": None}, second]}
    assert read_dirty("summeval:fluency", [less, SUMMEVAL_ROW]).reasons == {"missing score": 1}
    assert len(read_dirty("summeval", [less, SUMMEVAL_ROW]).groups) == 2


def test_outputs_of_one_source_make_one_group_compared_by_overall(read_published):
    (group,) = read_published("topical-chat", ROWS["topical-chat"])
    assert group.prompt == "Knowledge: Rivers are long.\n\nConversation:\nI like rivers.\n"
    assert group.completions == ("Me too.", "No.")
    assert group.comparisons == (Comparison(0, 1),)
    (even,) = read_published("topical-chat:coherence", ROWS["topical-chat"])
    assert even.comparisons == (Comparison(0, 1, "tie"),)


def test_all_rows_of_a_group_that_cannot_be_compared_are_counted(read_dirty):
    bare = [{**row, "scores": {"coherence": 1.0}} for row in ROWS["topical-chat"]]
    other = {**chat_output("Hm.", 2.0), "source": "Another."}
    found = read_dirty("topical-chat:naturalness", [*bare, other])
    assert found.reasons == {"missing score": 2}
    assert "left out with row 1" in found.errors[1]
    assert len(found.groups) == 1


LLM_SUMMARIZATION_ROW = ROWS["llm-summarization"][0]


def test_false_prefers_the_model_and_each_evaluator_is_named(read_published):
    rows = [LLM_SUMMARIZATION_ROW, {**LLM_SUMMARIZATION_ROW, "evaluator_id": "e2", "overall_writer_better": True}]
    groups = read_published("llm-summarization", rows)
    (merged,) = merge_groups(groups)
    assert merged.comparisons == (Comparison(1, 0, annotator="e1"), Comparison(0, 1, annotator="e2"))
    assert merged.models == ("writer w1", "text-davinci-002")
    assert groups[0].metadata == {"informative": "tie"}


def test_the_second_question_can_be_named(read_published):
    (group,) = read_published("llm-summarization:informative", [LLM_SUMMARIZATION_ROW])
    assert group.comparisons == (Comparison(0, 1, "tie", annotator="e1"),)


def test_verdicts_in_text_form_are_read_and_unknown_ones_counted(read_dirty):
    found = read_dirty(
        "llm-summarization", [{**LLM_SUMMARIZATION_ROW, "overall_writer_better": v} for v in ("True", "false", "maybe")]
    )
    assert [group.comparisons[0].better for group in found.groups] == [0, 1]
    assert found.reasons == {"unknown label": 1}


WMT_DARR_ROW = ROWS["wmt-darr"][0]


def test_pairs_of_one_source_make_one_graph_in_the_language_of_the_file(tmp_path):
    path = tmp_path / "kk-en.jsonl"
    rows = [WMT_DARR_ROW, {**WMT_DARR_ROW, "worse": "Go", "worse_system": "s3"}, {**WMT_DARR_ROW, "better": ""}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_preferences(path)
    (group,) = data
    assert group.prompt == "Translate into English: Сәлем\n"
    assert group.completions == ("Hello", "Bye", "Go")
    assert group.models == ("s1", "s2", "s3")
    assert len(group.comparisons) == 2
    assert group.metadata["reference"] == "Hi"
    assert data.report.dropped == {"empty completion": 1}
