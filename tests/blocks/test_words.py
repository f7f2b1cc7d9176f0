"""Numbers and foreign text as people read them."""

import math

import pytest

from rewardsmith.blocks.words import clean, excerpt, read_estimate, read_number, short_names, show, show_estimate
from rewardsmith.records import Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.51234, "0.512"), (0.0, "0.000"), (12345.6, "12,346"), (0.00012, "0.00012"), (1e-9, "1.0e-09"),
     (math.nan, "undefined"), (math.inf, "infinite"), (-0.5, "-0.500"), (123.45, "123.5")],
)  # fmt: skip
def test_numbers_are_shown_with_the_digits_that_matter(value, text):
    assert show(value) == text


def test_what_is_no_number_is_read_as_undefined():
    assert math.isnan(read_number(None))
    assert math.isnan(read_number("1"))
    assert math.isnan(read_number(True))
    assert read_estimate({"value": 1.0}) is None
    assert show_estimate(read_estimate({"value": None, "n": 3})) == "undefined (n=3)"
    assert show_estimate(Estimate(0.5, 10, 0.25, 0.75)) == "0.500 [0.250 to 0.750] (n=10)"


def test_invisible_characters_are_named():
    assert clean("a\x00b\u202ec\u200bd\ud800") == "a␀b⟨U+202E⟩c⟨U+200B⟩d⟨U+D800⟩"
    assert clean("line\r\nline\ttab") == "line\nline\ttab"


def test_an_excerpt_loses_no_character_uncounted():
    text = "word " * 1000
    found = excerpt(text, 2000)
    assert found.shown + found.rest == text[:2000]
    assert (found.left_out, found.total) == (3000, 5000)
    assert not found.shown[-1].isspace()
    short = excerpt("short", 2000)
    assert (short.shown, short.rest, short.left_out) == ("short", "", 0)
    assert excerpt("x\n" * 100, 2000).shown.count("\n") <= 15


def test_short_names_stay_distinct():
    names = ["/data/a/test.jsonl", "/data/b/test.jsonl", "other"]
    assert len(set(short_names(names).values())) == 3
