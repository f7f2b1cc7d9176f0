"""Plots as matplotlib figures, for notebooks and papers: the same blocks that the page draws as SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rewardsmith.blocks.kinds import Curves, Histogram, Plot, Reliability, Scatter, Section, Strips
from rewardsmith.blocks.plots import marks_of
from rewardsmith.errors import MissingExtraError
from rewardsmith.records import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour-blind safe, as on the page; shapes repeat what colours say.
COLOURS = {"a": "#0b5fa5", "b": "#b34700", "c": "#00705a", "d": "#8a2a86", "e": "#7d6500", "f": "#4a4f57"}
COLOURS |= {"g": "#b0003a", "h": "#00728f"}
SHAPES = {"a": "o", "b": "s", "c": "^", "d": "D", "e": "v", "f": "P", "g": ">", "h": "<"}
SOFT = "#525a64"


def figures_of(sections: Iterable[Section | None]) -> dict[str, Figure]:
    """Return a figure for each plot and forest plot of some sections, by the section's title and a number.

    Example:
        >>> from rewardsmith.blocks.kinds import Histogram
        >>> section = Section("Margins", "", "", [Histogram("c", "margin", [-1.0, 0.0, 1.0], [2, 4])])
        >>> list(figures_of([section]))
        ['margins']
    """
    found: dict[str, Figure] = {}
    for section in sections:
        drawn = [block for block in (section.blocks if section else ()) if isinstance(block, Plot | Strips)]
        for number, block in enumerate(drawn, 1):
            name = section.title.lower().replace(" ", "_").replace("-", "_") if section else ""
            found[name if number == 1 else f"{name}_{number}"] = figure_of(block)
    return found


def new_figure(width: float, height: float, dpi: int) -> Figure:
    """Return an empty figure that needs no display. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib is not installed; run: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_of(block: Plot | Strips) -> Figure:
    """Draw one block; the caption is the title."""
    height = 1.2 + 0.32 * len(block.rows) if isinstance(block, Strips) else 3.6
    figure = new_figure(7.5, height, 120)
    axes = figure.add_subplot()
    match block:
        case Strips():
            _strips(axes, block)
        case Curves():
            _curves(axes, block)
        case Histogram():
            _histogram(axes, block)
        case Scatter():
            _scatter(axes, block)
        case Reliability():
            _reliability(axes, block)
    axes.set_title(block.caption, fontsize=9, loc="left", wrap=True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
    return figure


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return the distances to the ends of the intervals; 0 where an end is not known."""
    ends = [(e.value - e.low, e.high - e.value) for e in estimates]
    return [[0.0 if math.isnan(pair[side]) else max(0.0, pair[side]) for pair in ends] for side in (0, 1)]


def _mark(tone: str) -> tuple[str, str, str]:
    """Return shape, filling and colour of a tone."""
    letter, _, hollow = tone.partition(" ")
    colour = COLOURS.get(letter, SOFT)
    return SHAPES.get(letter, "o"), "none" if hollow else colour, colour


def _strips(axes: Axes, block: Strips) -> None:
    for value, _ in block.references:
        axes.axvline(value, color=SOFT, linewidth=0.8)
    for place, row in enumerate(block.rows):
        for number, (estimate, tone) in enumerate(marks_of(row)):
            if math.isfinite(estimate.value):
                form, fill, colour = _mark(tone)
                errors, at = _errors([estimate]), place + 0.2 * number
                drawn = axes.errorbar([estimate.value], [at], xerr=errors, fmt=form, color=colour, markersize=4)
                drawn.lines[0].set_markerfacecolor(fill)
    axes.set_yticks(range(len(block.rows)), [row.label for row in block.rows])
    axes.invert_yaxis()
    if block.limits:
        axes.set_xlim(*block.limits)


def _curves(axes: Axes, plot: Curves) -> None:
    for curve in plot.series:
        known = [(x, e) for x, e in curve.points if math.isfinite(x) and math.isfinite(e.value)]
        xs, (form, fill, colour) = [x for x, _ in known], _mark(curve.tone)
        values = [e.value for _, e in known]
        axes.plot(xs, values, color=colour, marker=form, markerfacecolor=fill, markersize=4, label=curve.name)
        low, high = ([getattr(e, end) for _, e in known] for end in ("low", "high"))
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    if plot.mark is not None and math.isfinite(plot.mark.value):
        axes.axvline(plot.mark.value, color=SOFT, linestyle=":")
    axes.set_xlabel(plot.x_title, fontsize=8)
    axes.set_ylabel(plot.y_title, fontsize=8)


def _histogram(axes: Axes, plot: Histogram) -> None:
    edges, counts = list(plot.edges), list(plot.counts)
    widths = [high - low for low, high in itertools.pairwise(edges)]
    wrong = [plot.splits_at_zero and low + width / 2 < 0 for low, width in zip(edges, widths, strict=False)]
    colours = [COLOURS["b"] if is_wrong else COLOURS["a"] for is_wrong in wrong]
    axes.bar(edges[:-1], counts, widths, align="edge", color=colours, edgecolor="white")
    axes.set_xlabel(plot.x_title, fontsize=8)
    axes.set_ylabel(plot.y_title, fontsize=8)


def _scatter(axes: Axes, plot: Scatter) -> None:
    known = [(x, y) for x, y in plot.points if math.isfinite(x) and math.isfinite(y)]
    axes.scatter([x for x, _ in known], [y for _, y in known], s=8, alpha=0.5, color=COLOURS["a"])
    axes.axhline(0, color=SOFT, linewidth=0.8)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    if math.isfinite(plot.slope):
        axes.axline((0, 0), slope=plot.slope, color=COLOURS["b"], linestyle="--")
    axes.set_xlabel(plot.x_title, fontsize=8)
    axes.set_ylabel(plot.y_title, fontsize=8)


def _reliability(axes: Axes, plot: Reliability) -> None:
    estimates = [accuracy for _, accuracy in plot.bins]
    xs, ys = [confidence for confidence, _ in plot.bins], [e.value for e in estimates]
    axes.plot([0.5, 1.0], [0.5, 1.0], color=SOFT, linestyle="--", label="perfectly calibrated")
    axes.errorbar(xs, ys, yerr=_errors(estimates), fmt="o", color=COLOURS["a"], label="bin, 95% interval")
    axes.set_xlabel("confidence = sigmoid(|margin|)", fontsize=8)
    axes.set_ylabel("accuracy", fontsize=8)
