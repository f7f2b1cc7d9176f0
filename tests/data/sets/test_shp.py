from published_rows import ROWS

from rewardsmith.data.merging import merge_groups
from rewardsmith.records import Comparison

ROW = ROWS["shp"][0]


def test_label_1_prefers_comment_a_and_votes_are_ratings(read_published):
    a, b = read_published("shp", [ROW, {**ROW, "labels": 0, "score_A": 1, "score_B": 9}])
    assert a.comparisons == (Comparison(0, 1),)
    assert b.comparisons == (Comparison(1, 0),)
    assert (a.ratings["votes"], b.ratings["votes"]) == ((20.0, 10.0), (1.0, 9.0))
    assert a.metadata["score_ratio"] == 2.0


def test_pairs_of_one_post_merge_into_one_graph(read_published):
    groups = read_published("shp", [ROW, {**ROW, "human_ref_B": "Hours.", "score_B": 4}])
    (merged,) = merge_groups(groups)
    assert len(merged) == 3
    assert len(merged.comparisons) == 2


def test_a_label_against_the_votes_is_counted(read_dirty):
    found = read_dirty("shp", [{**ROW, "labels": 0}, {**ROW, "labels": 7}, {**ROW, "human_ref_A": ""}, ROW])
    assert found.reasons == {"contradictory label": 1, "unknown label": 1, "empty completion": 1}
