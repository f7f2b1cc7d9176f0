from published_ratings import chat_output
from published_rows import ROWS

from rewardsmith.records import Comparison


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
