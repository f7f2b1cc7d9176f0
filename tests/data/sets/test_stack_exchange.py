from published_rows import ROWS

from rewardsmith.data.sets.stack_exchange import html_to_text
from rewardsmith.records import Comparison

ROW = ROWS["stack-exchange"][0]


def test_answers_are_compared_by_votes(read_published):
    (group,) = read_published("stack-exchange", [ROW])
    assert group.prompt[0].content == "<p>How?</p>"
    assert group.comparisons == (Comparison(0, 1),)
    assert group.ratings == {"pm_score": (3.0, 1.0), "selected": (1.0, 0.0)}
    assert group.models == ("x", "y")


def test_html_becomes_text_when_asked(read_published):
    (group,) = read_published("stack-exchange:text", [ROW])
    assert group.prompt[0].content == "How?"
    assert [side[0].content for side in group.completions] == ["So & so.", "No."]
    assert html_to_text("<pre><code>a = 1\nb</code></pre><p>x<br>y</p>") == "a = 1\nb\n\nx\ny"


def test_pairs_prefer_response_j(read_published):
    (group,) = read_published("stack-exchange-paired", ROWS["stack-exchange-paired"])
    assert [side[0].content for side in group.completions] == ["So.", "No."]
    assert group.comparisons == (Comparison(0, 1),)


def test_equal_votes_tie_and_single_answers_are_counted(read_dirty):
    even = {**ROW, "answers": [{**answer, "pm_score": 2} for answer in ROW["answers"]]}
    single = {**ROW, "answers": ROW["answers"][:1]}
    found = read_dirty("stack-exchange", [even, single])
    assert found.groups[0].comparisons == (Comparison(0, 1, "tie"),)
    assert found.reasons == {"too few completions": 1}
