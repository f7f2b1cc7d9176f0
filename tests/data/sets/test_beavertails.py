from published_rows import ROWS

from rewardsmith.records import Comparison

ROWS_ = ROWS["beavertails"]


def test_labels_of_one_answer_become_shares(read_published):
    (group,) = read_published("beavertails", ROWS_)
    assert [side[0].content for side in group.completions] == ["Pins hold the plug.", "Break in."]
    assert group.ratings["is_safe"] == (0.5, 0.0)
    assert group.ratings["harm/financial_crime,property_crime,theft"] == (0.5, 1.0)
    assert group.metadata["num_labels"] == [2, 1]
    assert group.comparisons == ()


def test_safe_answers_beat_harmful_ones_when_asked(read_published):
    (group,) = read_published("beavertails:pairs", ROWS_)
    assert group.comparisons == (Comparison(0, 1),)


def test_dirty_rows_are_counted(read_dirty):
    found = read_dirty("beavertails", [{**ROWS_[0], "is_safe": "perhaps"}, {**ROWS_[0], "response": ""}, ROWS_[0]])
    assert found.reasons == {"wrong type": 1, "empty completion": 1}
