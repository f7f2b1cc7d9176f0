from published_rows import ROWS

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


def test_dirty_rows_are_counted(read_dirty):
    bad = [{**PAIR, "choice": 2}, {**PAIR, "summaries": PAIR["summaries"][:1]}, {**PAIR, "info": {"id": "x"}}, PAIR]
    found = read_dirty("summarize-from-feedback", bad)
    assert found.reasons == {"unknown label": 1, "wrong length": 1, "empty prompt": 1}
    unrated = {**AXIS[0], "summary": {**AXIS[0]["summary"], "axes": {"overall": None}}}
    found = read_dirty("summarize-from-feedback-axis", [*AXIS, unrated])
    assert found.reasons == {"null value": 1} or found.reasons == {"missing column": 1}
    assert len(found.groups) == 1
