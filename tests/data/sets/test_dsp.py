import pytest
from published_ratings import DOMAINS
from published_rows import ROWS

ROW = ROWS["dsp"][0]


def test_every_answer_is_rated_in_its_own_domain(read_published):
    (group,) = read_published("dsp", [ROW])
    assert group.models == DOMAINS
    assert group.ratings["business"] == (0.0, 1.0, 0.0, 0.0, 0.0)
    assert group.comparisons == ()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_named_domain_prefers_its_answer(domain, read_published):
    (group,) = read_published(f"dsp:{domain}", [ROW])
    best = DOMAINS.index(domain)
    assert [(c.better, c.worse) for c in group.comparisons] == [(best, i) for i in range(5) if i != best]


def test_a_row_without_the_domain_is_counted(read_dirty):
    less = {**ROW, "responses": {"academy": "a", "normal": "b"}}
    assert read_dirty("dsp:business", [less, ROW]).reasons == {"no answer of the domain": 1}
