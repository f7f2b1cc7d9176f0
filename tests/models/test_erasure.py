"""What gets lost between a text and its ids is counted per comparison and per answer."""

from rewardsmith.models.erasure import count_lost_texts, count_same_tokens
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

GROUP = PreferenceGroup("q", ("A", "a", "b"), (Comparison(0, 1), Comparison(0, 2), Comparison(1, 1)))


def test_only_comparisons_of_different_texts_with_equal_ids_count():
    assert count_same_tokens(GROUP, [[1], [1], [2]]) == 1
    assert count_same_tokens(GROUP, [[1], [3], [2]]) == 0


def test_an_answer_counts_when_a_part_of_it_is_missing_and_blanks_do_not():
    parts = (Message("assistant", [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),)
    group = PreferenceGroup("q", (" A \n", parts, TokenIds((1, 2))))
    assert count_lost_texts(group, ["q: A", "one and two", ""]) == 0
    assert count_lost_texts(group, ["q: ", "one", ""]) == 2
