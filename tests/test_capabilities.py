"""What a scorer can do is what it declares, and a user's own that declares nothing gives rewards."""

from types import SimpleNamespace

from rewardsmith.capabilities import Capabilities, capabilities_of


def test_what_is_declared_is_taken():
    declared = Capabilities(scores_ids=True, max_length=5)
    assert capabilities_of(SimpleNamespace(capabilities=declared)) is declared


def test_a_scorer_that_declares_nothing_gives_parts_only_where_it_has_them():
    assert capabilities_of(SimpleNamespace()) == Capabilities()
    assert capabilities_of(SimpleNamespace(score_parts=list)) == Capabilities(gives_parts=True)
