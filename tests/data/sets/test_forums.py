"""Answers on web forums, preferred by the votes of their readers."""

from published_rows import ROWS

from rewardsmith.data.merging import merge_groups
from rewardsmith.data.sets.forums import html_to_text
from rewardsmith.records import Comparison

SHP_ROW = ROWS["shp"][0]


def test_label_1_prefers_comment_a_and_votes_are_ratings(read_published):
    a, b = read_published("shp", [SHP_ROW, {**SHP_ROW, "labels": 0, "score_A": 1, "score_B": 9}])
    assert a.comparisons == (Comparison(0, 1),)
    assert b.comparisons == (Comparison(1, 0),)
    assert (a.ratings["votes"], b.ratings["votes"]) == ((20.0, 10.0), (1.0, 9.0))
    assert a.metadata["score_ratio"] == 2.0


def test_pairs_of_one_post_merge_into_one_graph(read_published):
    groups = read_published("shp", [SHP_ROW, {**SHP_ROW, "human_ref_B": "Hours.", "score_B": 4}])
    (merged,) = merge_groups(groups)
    assert len(merged) == 3
    assert len(merged.comparisons) == 2


def test_a_label_against_the_votes_is_counted(read_dirty):
    found = read_dirty(
        "shp", [{**SHP_ROW, "labels": 0}, {**SHP_ROW, "labels": 7}, {**SHP_ROW, "human_ref_A": ""}, SHP_ROW]
    )
    assert found.reasons == {"contradictory label": 1, "unknown label": 1, "empty completion": 1}


STACK_EXCHANGE_ROW = ROWS["stack-exchange"][0]


def test_answers_are_compared_by_votes(read_published):
    (group,) = read_published("stack-exchange", [STACK_EXCHANGE_ROW])
    assert group.prompt[0].content == "<p>How?</p>"
    assert group.comparisons == (Comparison(0, 1),)
    assert group.ratings == {"pm_score": (3.0, 1.0), "selected": (1.0, 0.0)}
    assert group.models == ("x", "y")


def test_html_becomes_text_when_asked(read_published):
    (group,) = read_published("stack-exchange:text", [STACK_EXCHANGE_ROW])
    assert group.prompt[0].content == "How?"
    assert [side[0].content for side in group.completions] == ["So & so.", "No."]
    assert html_to_text("<pre><code>a = 1\nb</code></pre><p>x<br>y</p>") == "a = 1\nb\n\nx\ny"


def test_pairs_prefer_response_j(read_published):
    (group,) = read_published("stack-exchange-paired", ROWS["stack-exchange-paired"])
    assert [side[0].content for side in group.completions] == ["So.", "No."]
    assert group.comparisons == (Comparison(0, 1),)


def test_equal_votes_tie_and_single_answers_are_counted(read_dirty):
    even = {**STACK_EXCHANGE_ROW, "answers": [{**answer, "pm_score": 2} for answer in STACK_EXCHANGE_ROW["answers"]]}
    single = {**STACK_EXCHANGE_ROW, "answers": STACK_EXCHANGE_ROW["answers"][:1]}
    found = read_dirty("stack-exchange", [even, single])
    assert found.groups[0].comparisons == (Comparison(0, 1, "tie"),)
    assert found.reasons == {"too few completions": 1}
