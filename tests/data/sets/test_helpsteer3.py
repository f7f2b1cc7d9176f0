import pytest
from published_rows import ROWS

from rewardsmith.records import Comparison

ROW = ROWS["helpsteer3"][0]


@pytest.mark.parametrize(
    ("strength", "expected"),
    [(-3, Comparison(0, 1, margin=3.0)), (1, Comparison(1, 0, margin=1.0)), (0, Comparison(0, 1, "tie"))],
)
def test_the_sign_of_the_preference_says_who_wins(strength, expected, read_published):
    (group,) = read_published("helpsteer3", [{**ROW, "overall_preference": strength}])
    assert group.prompt[0].content == "Name a river."
    assert group.comparisons == (expected,)
    assert group.metadata["reasonings"] == ["a river", "both fine"]


def test_every_annotator_gives_a_comparison_when_asked(read_published):
    (group,) = read_published("helpsteer3:raters", [ROW])
    assert group.comparisons == (
        Comparison(0, 1, margin=3.0, annotator="rater 1"),
        Comparison(0, 1, "tie", annotator="rater 2"),
    )


@pytest.mark.parametrize(("name", "worse"), [("helpsteer3-edit", "Paris."), ("helpsteer3-edit-quality", "London.")])
def test_edits_prefer_the_good_edit(name, worse, read_published):
    (group,) = read_published(name, ROWS[name])
    assert [side[0].content for side in group.completions] == ["Loire.", worse]
    assert group.comparisons == (Comparison(0, 1),)


def test_dirty_rows_are_counted(read_dirty):
    ended = {**ROW, "context": [*ROW["context"], {"role": "assistant", "content": "x"}]}
    found = read_dirty("helpsteer3", [ended, {**ROW, "overall_preference": -4}, {**ROW, "response2": None}, ROW])
    assert sum(found.reasons.values()) == 3
    assert found.reasons["out of range"] == found.reasons["null value"] == 1
