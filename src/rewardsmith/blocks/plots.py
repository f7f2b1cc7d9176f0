"""The one home of pictures: every plot and every line of a forest plot as SVG.

Colours are classes, which the style sheet sets for light, dark and print; shapes and dashes repeat what colours say.
Every plot is drawn 360 units wide, about the width of a phone, so that its letters stay legible there.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.blocks.kinds import Curve, Curves, Histogram, Plot, Reliability, Scatter, StripRow, Strips
from rewardsmith.blocks.words import clean
from rewardsmith.records import Estimate

WIDTH = 360
# Each is a colour of the style sheet and a shape.
MARKS = "abcdefgh"
LEFT, RIGHT, TOP = 44.0, WIDTH - 12.0, 26.0


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from numbers [low, high] to units of the picture [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of `value`, kept inside the picture."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round numbers inside."""
        return [tick for tick in nice_ticks(self.low, self.high, count) if self.low <= tick <= self.high]


@dataclass(frozen=True, slots=True)
class Frame:
    """The two scales of a plot."""

    x: Scale
    y: Scale


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover [low, high] in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def domain(values: Iterable[float], limits: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return an interval around the finite `values` with some room, inside `limits`; (0, 1) without any value."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return limits or (0.0, 1.0)
    low, high = min(finite), max(finite)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    if limits:
        low, high = max(low, limits[0]), min(high, limits[1])
    # Numbers beyond any plot (1e308) would overflow in the differences.
    return (low, high) if low < high and math.isfinite(high - low) else (0.0, 1.0)


def element(tag: str, content: str | Markup = "", **attributes: object) -> Markup:
    """Build one element. Text and attributes are escaped; `class_` stands for class, `text_anchor` for text-anchor."""
    named = []
    for name, value in attributes.items():
        written = f"{value:.1f}" if isinstance(value, float) else clean(value)
        named.append(f' {name.rstrip("_").replace("_", "-")}="{html.escape(written)}"')
    inner = content if isinstance(content, Markup) else html.escape(clean(content))
    return Markup(f"<{tag}{''.join(named)}>{inner}</{tag}>")


def picture(height: float, parts: Sequence[Markup], label: str) -> Markup:
    """Return an SVG of the common width with a text alternative."""
    content = Markup("").join(parts)
    return element("svg", content, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=label, class_="plot")


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Draw a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def letters(x: float, y: float, content: str, anchor: str = "middle") -> Markup:
    """Write at a place."""
    return element("text", content, x=x, y=y, text_anchor=anchor)


def path(points: Sequence[tuple[float, float]], class_: str, closed: bool = False) -> Markup:
    """Draw a polygon or a line through points."""
    steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element("path", d=f"M{steps}{' Z' if closed else ''}", class_=class_)


def tone_of(index: int) -> str:
    """Return the tone of a series by its number: those after the eighth are hollow, those after the 16th repeat."""
    turn, place = divmod(index, len(MARKS))
    return MARKS[place] + (" hollow" if turn % 2 else "")


# Corners of the marks that are no circle, from their middle.
CORNERS = {
    "b": [(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
    "c": [(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)],
    "d": [(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)],
    "e": [(0.0, 5.0), (5.0, -4.0), (-5.0, -4.0)],
    "f": [
        *((-1.7, -5.2), (1.7, -5.2), (1.7, -1.7), (5.2, -1.7), (5.2, 1.7), (1.7, 1.7)),
        *((1.7, 5.2), (-1.7, 5.2), (-1.7, 1.7), (-5.2, 1.7), (-5.2, -1.7), (-1.7, -1.7)),
    ],
    "g": [(5.0, 0.0), (-4.0, 5.0), (-4.0, -5.0)],
    "h": [(-5.0, 0.0), (4.0, 5.0), (4.0, -5.0)],
}


def marker(x: float, y: float, tone: str) -> Markup:
    """Draw a point; tones differ in shape too."""
    corners = CORNERS.get(tone[:1])
    if corners is None:
        return element("circle", cx=x, cy=y, r=4.2, class_=f"mark {tone}")
    return path([(x + right, y + down) for right, down in corners], f"mark {tone}", closed=True)


def legend_mark(tone: str) -> Markup:
    """Draw what stands before a name in a legend: a point, or a line of the class `tone`."""
    if tone.removesuffix(" hollow") in MARKS:
        drawing = marker(8, 8, tone)
    elif tone == "dot":
        drawing = element("path", d="M8 8h0", class_="dots")
    elif tone.startswith("line"):
        drawing = line(0, 8, 16, 8, tone)
    else:
        drawing = line(8, 1, 8, 15, tone)
    return element("svg", drawing, viewBox="0 0 16 16", width=16, height=16, aria_hidden="true")


def number(value: float) -> str:
    """Write a tick."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0e}"


def axes(frame: Frame, x_title: str, y_title: str) -> list[Markup]:
    """Draw grid, ticks and titles."""
    left, bottom = frame.x.start, frame.y.start
    parts = []
    for tick in frame.y.ticks(5):
        parts += [line(left, frame.y(tick), frame.x.end, frame.y(tick), "grid")]
        parts += [letters(left - 5, frame.y(tick) + 4, number(tick), "end")]
    for tick in frame.x.ticks(5):
        parts += [line(frame.x(tick), bottom, frame.x(tick), bottom + 4, "axis")]
        parts += [letters(frame.x(tick), bottom + 16, number(tick))]
    parts.append(line(left, bottom, frame.x.end, bottom, "axis"))
    parts.append(letters((left + frame.x.end) / 2, bottom + 33, x_title))
    parts.append(letters(2, 12, y_title, "start"))
    return parts


def draw(plot: Plot) -> Markup:
    """Draw any plot."""
    match plot:
        case Reliability():
            return _reliability(plot)
        case Histogram():
            return _histogram(plot)
        case Scatter():
            return _scatter(plot)
        case Curves():
            return _curves(plot)


def _reliability(plot: Reliability) -> Markup:
    """Draw bins against the diagonal, with the intervals of their accuracy, and the counts below."""
    bins = plot.bins
    most_sure = max((confidence for confidence, _ in bins), default=1.0)
    end = min(1.0, max(0.7, math.ceil(most_sure * 20 + 0.2) / 20))
    frame = Frame(Scale(0.5, end, LEFT, RIGHT), Scale(0.0, 1.0, 230.0, TOP))
    parts = axes(frame, "confidence = sigmoid(|margin|)", "accuracy")
    parts.append(line(frame.x(0.5), frame.y(0.5), frame.x(end), frame.y(end), "ideal"))
    most = max((accuracy.n for _, accuracy in bins), default=1) or 1
    for confidence, accuracy in bins:
        x = frame.x(confidence)
        parts += [line(x, frame.y(accuracy.low), x, frame.y(accuracy.high), "interval a")]
        parts.append(marker(x, frame.y(accuracy.value), "a"))
        height = 34 * accuracy.n / most
        parts.append(element("rect", x=x - 2.5, y=318 - height, width=5, height=height, class_="bar"))
    parts += [line(LEFT, 318, RIGHT, 318, "axis"), letters(LEFT - 5, 292, f"{most:,}", "end")]
    parts += [letters(LEFT - 5, 321, "0", "end"), letters(2, 279, "pairs in each bin", "start")]
    total = sum(accuracy.n for _, accuracy in bins)
    return picture(326, parts, f"Reliability diagram: accuracy against confidence, {len(bins)} bins, {total:,} pairs")


def _histogram(plot: Histogram) -> Markup:
    """Draw counts between edges."""
    edges, counts = plot.edges, plot.counts
    frame = Frame(Scale(edges[0], edges[-1], LEFT, RIGHT), Scale(0.0, max(1, *counts) * 1.08, 200.0, TOP))
    parts = axes(frame, plot.x_title, plot.y_title)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        x, top = frame.x(low), frame.y(count)
        class_ = "bar wrong" if plot.splits_at_zero and (low + high) / 2 < 0 else "bar right"
        width, height = max(0.5, frame.x(high) - x - 1), 200 - top
        parts.append(element("rect", x=x, y=top, width=width, height=height, class_=class_))
    if plot.splits_at_zero and edges[0] < 0 < edges[-1]:
        parts.append(line(frame.x(0), TOP, frame.x(0), 200, "zero"))
    return picture(240, parts, f"Histogram: {plot.x_title}, {sum(counts):,} {plot.y_title.removeprefix('judged ')}")


def _curves(plot: Curves) -> Markup:
    """Draw curves with bands over one pair of axes."""
    frame = _curve_frame(plot.series)
    parts = axes(frame, plot.x_title, plot.y_title)
    if plot.mark is not None:
        parts += _vertical_mark(frame, plot.mark)
    if frame.y.low < 0 < frame.y.high:
        parts.append(line(LEFT, frame.y(0), RIGHT, frame.y(0), "zero"))
    parts += [part for curve in plot.series for part in _band(curve, frame)]
    for curve in plot.series:
        known = _known(curve)
        parts.append(path([(frame.x(x), frame.y(e.value)) for x, e in known], f"line {curve.tone}"))
        parts += [marker(frame.x(x), frame.y(e.value), curve.tone) for x, e in known]
    names = " and ".join(curve.name for curve in plot.series)
    return picture(240, parts, f"{plot.y_title} against {plot.x_title}: {names}")


def _curve_frame(series: Sequence[Curve]) -> Frame:
    points = [point for curve in series for point in _known(curve)]
    x = domain([x for x, _ in points])
    y = domain([value for _, e in points for value in (e.value, e.low, e.high)])
    return Frame(Scale(*x, LEFT, RIGHT), Scale(*y, 200.0, TOP))


def _scatter(plot: Scatter) -> Markup:
    """Draw pairs of differences as dots, the zero lines, and a line through the origin."""
    known = [(x, y) for x, y in plot.points if math.isfinite(x) and math.isfinite(y)]
    x_domain, y_domain = domain([x for x, _ in known] + [0.0]), domain([y for _, y in known] + [0.0])
    frame = Frame(Scale(*x_domain, LEFT, RIGHT), Scale(*y_domain, 200.0, TOP))
    parts = axes(frame, plot.x_title, plot.y_title)
    parts += [line(LEFT, frame.y(0), RIGHT, frame.y(0), "zero"), line(frame.x(0), TOP, frame.x(0), 200, "zero")]
    # One path for all dots: lines of no length with round ends.
    dots = "".join(f"M{frame.x(x):.0f} {frame.y(y):.0f}h0" for x, y in known)
    parts.append(element("path", d=dots, class_="dots"))
    slope = plot.slope
    if math.isfinite(slope) and slope:
        reach = min(x_domain[1], y_domain[1] / slope if slope > 0 else y_domain[0] / slope)
        back = max(x_domain[0], y_domain[0] / slope if slope > 0 else y_domain[1] / slope)
        ends = [(frame.x(x), frame.y(x * slope)) for x in (back, reach)]
        parts.append(path(ends, "line b"))
    return picture(240, parts, f"{plot.y_title} against {plot.x_title}, {len(known):,} pairs")


def _vertical_mark(frame: Frame, where: Estimate) -> list[Markup]:
    """Draw a vertical line at an estimate, with its interval as a band; one without an upper end goes to the edge."""
    if not math.isfinite(where.value):
        return []
    parts = [line(frame.x(where.value), TOP, frame.x(where.value), 200, "reference")]
    if math.isfinite(where.low):
        x = frame.x(where.low)
        end = frame.x(where.high) if math.isfinite(where.high) else RIGHT
        band = element("rect", x=x, y=TOP, width=end - x, height=200 - TOP, class_="band reference")
        parts.insert(0, band)
    return parts


def _known(curve: Curve) -> list[tuple[float, Estimate]]:
    return [(x, e) for x, e in curve.points if math.isfinite(x) and math.isfinite(e.value)]


def _band(curve: Curve, frame: Frame) -> list[Markup]:
    known = [(x, e) for x, e in _known(curve) if math.isfinite(e.low) and math.isfinite(e.high)]
    if len(known) < 2:
        return []
    upper = [(frame.x(x), frame.y(e.high)) for x, e in known]
    lower = [(frame.x(x), frame.y(e.low)) for x, e in reversed(known)]
    return [path(upper + lower, f"band {curve.tone}", closed=True)]


def marks_of(row: StripRow) -> Sequence[tuple[Estimate, str]]:
    """Return the estimates that a line of a forest plot draws, each with its tone."""
    return row.marks or ([(row.estimate, row.tone)] if row.estimate else [])


def strip_scale(block: Strips) -> Scale:
    """Return the axis of a forest plot, in percent of the width of its column."""
    values = [value for row in block.rows for e, _ in marks_of(row) for value in (e.value, e.low, e.high)]
    values += [value for value, _ in block.references]
    values += [value for row in block.rows for value, _ in row.references]
    low, high = domain(values, block.limits)
    ticks = nice_ticks(low, high, 5)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    if block.limits:
        low, high = max(low, block.limits[0]), min(high, block.limits[1])
    return Scale(low, high, 1.5, 98.5)


def strip_axis(scale: Scale) -> Markup:
    """Draw the ticks of a forest plot. Places are percents, so that letters keep their size at any width."""
    parts = []
    last = -math.inf
    for tick in scale.ticks(5):
        share = scale(tick)
        # Narrow columns have no room for more letters.
        if share - last < 10:
            continue
        last = share
        anchor = "start" if share < 8 else "end" if share > 92 else "middle"
        parts.append(element("text", number(tick), x=f"{share:.2f}%", y=12, text_anchor=anchor))
        parts.append(element("line", x1=f"{share:.2f}%", x2=f"{share:.2f}%", y1=16, y2=20, class_="axis"))
    return element("svg", Markup("").join(parts), class_="strip", height=20, aria_hidden="true")


def strip(marks: Sequence[tuple[Estimate, str]], scale: Scale, references: Sequence[tuple[float, str]]) -> Markup:
    """Draw estimates with their intervals, one below the other, and vertical lines of reference."""
    height = 12 + 14 * len(marks)
    parts = []
    for value, class_ in references:
        if math.isfinite(value):
            x = f"{scale(value):.2f}%"
            parts.append(element("line", x1=x, x2=x, y1=0, y2=height, class_=class_))
    for index, (estimate, tone) in enumerate(marks):
        if not math.isfinite(estimate.value):
            continue
        y = 13.0 + 14 * index
        if math.isfinite(estimate.low) and math.isfinite(estimate.high):
            ends = {"x1": f"{scale(estimate.low):.2f}%", "x2": f"{scale(estimate.high):.2f}%"}
            parts.append(element("line", y1=y, y2=y, class_=f"interval {tone}", **ends))
        # A nested picture lets a shape stand at a percent.
        inner = marker(0, 8, tone)
        parts.append(element("svg", inner, x=f"{scale(estimate.value):.2f}%", y=y - 8, class_="at", overflow="visible"))
    return element("svg", Markup("").join(parts), class_="strip", height=height, aria_hidden="true")
