from published_rows import ROWS

from rewardsmith.records import Comparison

ROW = ROWS["finegrained-rlhf"][0]


def test_six_outcomes_are_the_pairs_in_order(read_published):
    (group,) = read_published("finegrained-rlhf", [ROW])
    assert group.prompt == "Title text one text two\n\nq?\n\n"
    assert group.comparisons == (
        Comparison(0, 1),
        Comparison(2, 0),
        Comparison(0, 3, "tie"),
        Comparison(1, 2),
        Comparison(1, 3),
        Comparison(3, 2),
    )
    assert group.metadata["gold"] == "answer"


def test_dirty_rows_are_counted(read_dirty):
    rows = [{**ROW, "preference": [1]}, {**ROW, "preference": [3] * 6}, {**ROW, "question": ""}, ROW]
    assert read_dirty("finegrained-rlhf", rows).reasons == {"wrong outcome": 2, "empty prompt": 1}
