"""The text rule of a layout changes the tokenizer's own only where the layout says so."""

from rewardsmith.models.foreign.imported import ScoringRule, TextRule
from rewardsmith.models.rendering import TextPolicy

OWN = TextPolicy(False, "<s>", "</s>")


def test_a_rule_that_says_nothing_keeps_the_tokenizers_frame():
    assert TextRule().policy(OWN) == OWN


def test_a_layout_may_drop_the_frame_and_append_a_token():
    policy = TextRule(is_plain_closed=False, has_bos=False, appended_id=9).policy(OWN)
    assert (policy.bos_text, policy.eos_text, policy.appended_id) == ("", "", 9)
    assert policy.finish([1, 2]) == [1, 2, 9]


def test_a_scoring_rule_is_one_line():
    assert str(ScoringRule("X", "the last token", "as it is")) == (
        "layout: X; scored: the last token; text: as it is; reward: raw"
    )
