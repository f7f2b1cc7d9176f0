"""OpenAI's published comparisons: summaries of posts, and answers with citations."""

import pytest
from published_rows import ROWS

from rewardsmith.data.sets.openai import strip_citations
from rewardsmith.records import Comparison

PAIR = ROWS["summarize-from-feedback"][0]
AXIS = ROWS["summarize-from-feedback-axis"]


def test_a_comparison_names_the_worker_and_the_policies(read_published):
    (group,) = read_published("summarize-from-feedback", [PAIR])
    assert group.prompt == "SUBREDDIT: r/tifu\n\nTITLE: Story\n\nPOST: Long story.\n\nTL;DR:"
    assert group.completions == (" I fell.", " I stood.")
    assert group.comparisons == (Comparison(1, 0, annotator="w1"),)
    assert group.models == ("sup1", "ref")
    assert group.metadata["confidence"] == 5


def test_axis_ratings_become_a_ranking_by_the_mean_of_overall(read_published):
    (group,) = read_published("summarize-from-feedback-axis", AXIS)
    assert group.completions == (" I fell.", " I stood.")
    assert group.ratings["overall"] == (5.0, 3.0)
    assert "coverage" not in group.ratings
    assert group.ratings["compatible"] == (1.0, 1.0)
    assert group.comparisons == (Comparison(0, 1),)
    assert group.metadata["num_ratings"] == [2, 1]
    assert group.metadata["workers"] == ["w1", "w2"]


def test_ratings_of_one_post_need_not_stand_together(read_published):
    other = {**AXIS[0], "info": {**AXIS[0]["info"], "id": "t3_2", "post": "Another."}}
    first, second = read_published("summarize-from-feedback-axis", [AXIS[0], other, *AXIS[1:]])
    assert (len(first), len(second)) == (2, 1)


def test_articles_have_no_heads(read_published):
    info = {"id": "n1", "post": None, "title": None, "subreddit": None, "site": "dm", "article": "News."}
    (group,) = read_published("summarize-from-feedback", [{**PAIR, "info": info}])
    assert group.prompt == "Article:\nNews.\n\nTL;DR:\n"


def test_dirty_rows_are_counted_in_summarize_from_feedback(read_dirty):
    bad = [{**PAIR, "choice": 2}, {**PAIR, "summaries": PAIR["summaries"][:1]}, {**PAIR, "info": {"id": "x"}}, PAIR]
    found = read_dirty("summarize-from-feedback", bad)
    assert found.reasons == {"unknown label": 1, "wrong length": 1, "empty prompt": 1}
    unrated = {**AXIS[0], "summary": {**AXIS[0]["summary"], "axes": {"overall": None}}}
    found = read_dirty("summarize-from-feedback-axis", [*AXIS, unrated])
    assert found.reasons == {"null value": 1} or found.reasons == {"missing column": 1}
    assert len(found.groups) == 1


ROW = ROWS["webgpt"][0]


def test_scores_are_ratings_and_give_the_order(read_published):
    (group,) = read_published("webgpt", [ROW])
    assert group.prompt[0].content == "Why is the sky blue?"
    assert [side[0].content for side in group.completions] == [ROW["answer_0"], ROW["answer_1"]]
    assert group.comparisons == (Comparison(0, 1),)
    assert group.ratings == {"score": (0.5, -0.5)}
    assert group.group_id == "9z5k"
    assert group.metadata["dataset"] == "eli5"


def test_citations_go_when_asked(read_published):
    (group,) = read_published("webgpt:stripped", [ROW])
    assert [side[0].content for side in group.completions] == ["Light scatters. Blue most.", "The sea."]
    (group,) = read_published("webgpt-dsp:stripped", ROWS["webgpt-dsp"])
    assert [side[0].content for side in group.completions] == ["So.", "No."]


@pytest.mark.parametrize(
    ("text", "stripped"),
    [("a [1][2] b [3, 4].", "a b."), ("x [not a citation]", "x [not a citation]"), ("list[0] ok", "list ok")],
)
def test_what_counts_as_a_citation(text, stripped):
    assert strip_citations(text) == stripped


def test_equal_scores_are_kept_as_ties(read_published):
    (group,) = read_published("webgpt", [{**ROW, "score_0": 0.0, "score_1": 0.0}])
    assert group.comparisons == (Comparison(0, 1, "tie"),)


def test_dirty_rows_are_counted_in_webgpt(read_dirty):
    found = read_dirty(
        "webgpt", [{**ROW, "score_0": None}, {**ROW, "answer_1": " "}, {**ROW, "question": {"full_text": ""}}, ROW]
    )
    assert found.reasons == {"null value": 1, "empty completion": 1, "empty prompt": 1}
    lists = ROWS["webgpt-dsp"][0]
    assert read_dirty("webgpt-dsp", [{**lists, "score": [1.0]}]).reasons == {"wrong length": 1}
