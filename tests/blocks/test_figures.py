"""Every plot of the page as a matplotlib figure: what is known is drawn, what is not known draws nothing."""

import math

import pytest

from rewardsmith.blocks.figures import figure_of, figures_of
from rewardsmith.blocks.kinds import Curve, Curves, Histogram, Reliability, Scatter, Section, StripRow, Strips, Table
from rewardsmith.records import Estimate

ESTIMATE = Estimate(0.6, 10, 0.4, 0.8)
UNKNOWN = Estimate(math.nan, 0)
PLOTS = {
    "strips": Strips("c", [StripRow("a", ESTIMATE), StripRow("b", UNKNOWN)], [(0.5, "zero")], (0.0, 1.0)),
    "curves": Curves("c", "x", "y", [Curve("s", "a", [(0.0, ESTIMATE), (1.0, UNKNOWN)])], mark=ESTIMATE),
    "histogram": Histogram("c", "x", [-1.0, 0.0, 1.0], [2, 4], splits_at_zero=True),
    "scatter": Scatter("c", "x", "y", [(0.0, 1.0), (math.nan, 2.0)], slope=0.5),
    "reliability": Reliability("c", [(0.7, ESTIMATE)]),
}


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_has_axes_under_its_caption(name):
    (axes,) = figure_of(PLOTS[name]).axes
    assert axes.get_title(loc="left") == "c"
    assert axes.has_data()


def test_wrong_margins_have_a_colour_of_their_own():
    (axes,) = figure_of(PLOTS["histogram"]).axes
    left, right = axes.patches
    assert (left.get_height(), right.get_height()) == (2, 4)
    assert left.get_facecolor() != right.get_facecolor()


def test_figures_are_named_by_their_section_and_numbered_from_the_second_on():
    section = Section("Where it is right", "", "", [PLOTS["strips"], Table("t", ("a",), []), PLOTS["histogram"]])
    assert list(figures_of([None, section])) == ["where_it_is_right", "where_it_is_right_2"]
