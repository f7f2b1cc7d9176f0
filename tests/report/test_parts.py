"""The small parts: numbers, texts, scales, histograms, curves."""

import math

import numpy as np
import pytest

from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Estimate, PreferenceGroup
from rewardsmith.report.details import length_curve, margin_histogram, worst_disagreements
from rewardsmith.report.numbers import read_estimate, read_number, show, show_estimate
from rewardsmith.report.svg import Scale, domain, element, nice_ticks
from rewardsmith.report.texts import clean, excerpt, short_names

HOW = Resampling(100, 0)


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


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 0.01), (1e-9, 2e-9), (-1e6, 1e6)])
def test_ticks_are_round_and_cover_the_axis(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 9


def test_a_scale_keeps_everything_inside_the_picture():
    scale = Scale(0.0, 10.0, 40.0, 340.0)
    assert (scale(0.0), scale(5.0), scale(99.0), scale(-99.0)) == (40.0, 190.0, 340.0, 40.0)


@pytest.mark.parametrize("values", [[], [math.nan], [1e308, -1e308], [5.0], [0.0, 0.0]])
def test_an_axis_of_odd_values_has_a_width(values):
    low, high = domain(values)
    assert low < high
    assert math.isfinite(high - low)


def test_attributes_and_content_are_escaped():
    assert element("text", "<b>", title='"x"') == '<text title="&quot;x&quot;">&lt;b&gt;</text>'


def test_a_histogram_counts_every_margin_once_and_never_mixes_right_and_wrong():
    values = np.random.default_rng(0).normal(0.5, 1.0, 500)
    found = margin_histogram(values)
    assert sum(found["counts"]) + found["below"] + found["above"] == found["n"] == 500
    assert 0.0 in [round(edge, 12) for edge in found["edges"]]
    assert found["wrong"] == int((values < 0).sum())
    assert margin_histogram(np.zeros(5))["ties"] == 5
    assert margin_histogram(np.array([]))["n"] == 0


def scored(count):
    return [
        ScoredGroup(
            PreferenceGroup(f"p{i}", ("x" * (i % 7 + 1), "y" * (i % 5 + 9)), (Comparison(0, 1),)),
            (0.0, float(i % 5 + 9)),
        )
        for i in range(count)
    ]


def test_the_length_curve_rises_for_a_reward_that_pays_for_length():
    rows = length_curve(scored(60), HOW)
    rewards = [row["reward"]["value"] for row in rows]
    assert rewards[0] < 0 < rewards[-1]
    assert [row["length"] for row in rows] == sorted(row["length"] for row in rows)
    assert length_curve([], HOW) == []


def test_the_worst_disagreements_are_the_most_negative_margins_one_a_prompt():
    rows = worst_disagreements(scored(30), 4)
    assert [row["margin"] for row in rows] == [-13.0] * 4
    assert len({row["prompt"] for row in rows}) == 4
    right = [ScoredGroup(PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),)), (1.0, 0.0))]
    assert worst_disagreements(right) == []
