import pytest
from published_rows import ROWS

from rewardsmith.records import Comparison

ROW = ROWS["summeval"][0]


def test_summaries_are_compared_by_the_mean_of_four_attributes(read_published):
    (group,) = read_published("summeval", [ROW])
    assert group.prompt == "Article: A long story.\n\nSummary: "
    assert group.comparisons == (Comparison(0, 1),)
    assert group.ratings["coherence"] == (4.0, 5.0)
    assert group.models == ("M1", "M2")


@pytest.mark.parametrize(("attribute", "better"), [("coherence", 1), ("consistency", 0)])
def test_one_attribute_can_be_named(attribute, better, read_published):
    (group,) = read_published(f"summeval:{attribute}", [ROW])
    assert group.comparisons[0].better == better


def test_a_missing_rating_is_counted_only_where_it_is_needed(read_dirty):
    first, second = ROW["summaries"]
    less = {**ROW, "summaries": [{**first, "fluency": None}, second]}
    assert read_dirty("summeval:fluency", [less, ROW]).reasons == {"missing score": 1}
    assert len(read_dirty("summeval", [less, ROW]).groups) == 2
