import pytest
from published_rows import ROWS

from rewardsmith.data.sets.webgpt import strip_citations
from rewardsmith.records import Comparison

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


def test_dirty_rows_are_counted(read_dirty):
    found = read_dirty(
        "webgpt", [{**ROW, "score_0": None}, {**ROW, "answer_1": " "}, {**ROW, "question": {"full_text": ""}}, ROW]
    )
    assert found.reasons == {"null value": 1, "empty completion": 1, "empty prompt": 1}
    lists = ROWS["webgpt-dsp"][0]
    assert read_dirty("webgpt-dsp", [{**lists, "score": [1.0]}]).reasons == {"wrong length": 1}
