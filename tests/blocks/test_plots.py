import math

import pytest

from rewardsmith.blocks.kinds import Curve, Curves, Histogram, Reliability, Scatter
from rewardsmith.blocks.plots import Scale, domain, draw, element, marker, nice_ticks, tone_of
from rewardsmith.records import Estimate


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


def test_every_plot_has_a_text_that_says_what_it_shows():
    points = [(0.0, Estimate(0.1, 9, 0.0, 0.2)), (1.0, Estimate(0.4, 9, 0.3, math.nan))]
    plots = {
        "y against x: gold": Curves("", "x", "y", [Curve("gold", "a", points)], Estimate(0.5, 9, 0.2, 0.8)),
        "Histogram: margin, 6 pairs": Histogram("", "margin", [-1.0, 0.0, 1.0], [2, 4], splits_at_zero=True),
        "y against x, 1 pairs": Scatter("", "x", "y", [(1.0, 2.0), (math.nan, 1.0)], 0.5),
        "2 bins, 30 pairs": Reliability("", [(0.6, Estimate(0.5, 10, 0.2, 0.8)), (0.9, Estimate(0.8, 20, 0.6, 0.9))]),
    }
    for words, plot in plots.items():
        drawing = draw(plot)
        assert words in drawing
        assert "nan" not in drawing


def test_sixteen_series_differ_in_shape_and_colour():
    tones = [tone_of(index) for index in range(16)]
    drawn = [str(marker(0, 0, tone)) for tone in tones]
    without_colour = {one.replace(f"mark {tone[0]}", "mark") for one, tone in zip(drawn, tones, strict=True)}
    assert len(without_colour) == len(set(tones)) == 16
    assert tone_of(16) == tone_of(0)
