"""The plots: reliability, histogram, curves with bands. Each takes numbers and gives one SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.records import Estimate
from rewardsmith.report.svg import (
    WIDTH,
    Frame,
    Scale,
    axes,
    domain,
    element,
    letters,
    line,
    marker,
    nice_ticks,
    number,
    path,
    picture,
)
from rewardsmith.stats.intervals import wilson

LEFT, RIGHT, TOP = 44.0, WIDTH - 12.0, 26.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A series of estimates over x, drawn in a tone with its band."""

    name: str
    tone: str
    points: Sequence[tuple[float, Estimate]]


def reliability(bins: Sequence[tuple[int, float, float]]) -> Markup:
    """Draw (n, confidence, accuracy) of bins against the diagonal, with Wilson's intervals, and the counts below."""
    most_sure = max((confidence for _, confidence, _ in bins), default=1.0)
    end = min(1.0, max(0.7, math.ceil(most_sure * 20 + 0.2) / 20))
    frame = Frame(Scale(0.5, end, LEFT, RIGHT), Scale(0.0, 1.0, 230.0, TOP))
    parts = axes(frame, "confidence = sigmoid(|margin|)", "accuracy")
    parts.append(line(frame.x(0.5), frame.y(0.5), frame.x(end), frame.y(end), "ideal"))
    most = max((n for n, _, _ in bins), default=1) or 1
    for n, confidence, accuracy in bins:
        x = frame.x(confidence)
        bound = wilson(round(accuracy * n), n)
        parts += [line(x, frame.y(bound.low), x, frame.y(bound.high), "interval a"), marker(x, frame.y(accuracy), "a")]
        height = 34 * n / most
        parts.append(element("rect", x=x - 2.5, y=318 - height, width=5, height=height, class_="bar"))
    parts += [line(LEFT, 318, RIGHT, 318, "axis"), letters(LEFT - 5, 292, f"{most:,}", "end")]
    parts += [letters(LEFT - 5, 321, "0", "end"), letters(2, 279, "pairs in each bin", "start")]
    total = sum(n for n, _, _ in bins)
    return picture(326, parts, f"Reliability diagram: accuracy against confidence, {len(bins)} bins, {total:,} pairs")


def histogram(edges: Sequence[float], counts: Sequence[int], title: str) -> Markup:
    """Draw counts between edges; bars left of zero, where the reward is wrong, are outlined."""
    frame = Frame(Scale(edges[0], edges[-1], LEFT, RIGHT), Scale(0.0, max(1, *counts) * 1.08, 200.0, TOP))
    parts = axes(frame, title, "judged pairs")
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        x, top = frame.x(low), frame.y(count)
        class_ = "bar wrong" if (low + high) / 2 < 0 else "bar right"
        width, height = max(0.5, frame.x(high) - x - 1), 200 - top
        parts.append(element("rect", x=x, y=top, width=width, height=height, class_=class_))
    if edges[0] < 0 < edges[-1]:
        parts.append(line(frame.x(0), TOP, frame.x(0), 200, "zero"))
    return picture(240, parts, f"Histogram: {title}, {sum(counts):,} pairs")


def curves(series: Sequence[Curve], x_title: str, y_title: str, extra: Sequence[Markup] = ()) -> Markup:
    """Draw curves with bands over one pair of axes."""
    frame = curve_frame(series)
    parts = [*axes(frame, x_title, y_title), *extra]
    if frame.y.low < 0 < frame.y.high:
        parts.append(line(LEFT, frame.y(0), RIGHT, frame.y(0), "zero"))
    parts += [part for curve in series for part in _band(curve, frame)]
    for curve in series:
        known = _known(curve)
        parts.append(path([(frame.x(x), frame.y(e.value)) for x, e in known], f"line {curve.tone}"))
        parts += [marker(frame.x(x), frame.y(e.value), curve.tone) for x, e in known]
    names = " and ".join(curve.name for curve in series)
    return picture(240, parts, f"{y_title} against {x_title}: {names}")


def curve_frame(series: Sequence[Curve]) -> Frame:
    """Give the axes that `curves` uses, to place marks of one's own."""
    points = [point for curve in series for point in _known(curve)]
    x = domain([x for x, _ in points])
    y = domain([value for _, e in points for value in (e.value, e.low, e.high)])
    return Frame(Scale(*x, LEFT, RIGHT), Scale(*y, 200.0, TOP))


def scatter(points: Sequence[tuple[float, float]], x_title: str, y_title: str, slope: float = math.nan) -> Markup:
    """Draw pairs of differences as dots, the zero lines, and a line of `slope` through the origin."""
    known = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    x_domain, y_domain = domain([x for x, _ in known] + [0.0]), domain([y for _, y in known] + [0.0])
    frame = Frame(Scale(*x_domain, LEFT, RIGHT), Scale(*y_domain, 200.0, TOP))
    parts = axes(frame, x_title, y_title)
    parts += [line(LEFT, frame.y(0), RIGHT, frame.y(0), "zero"), line(frame.x(0), TOP, frame.x(0), 200, "zero")]
    # One path for all dots: lines of no length with round ends.
    dots = "".join(f"M{frame.x(x):.0f} {frame.y(y):.0f}h0" for x, y in known)
    parts.append(element("path", d=dots, class_="dots"))
    if math.isfinite(slope) and slope:
        reach = min(x_domain[1], y_domain[1] / slope if slope > 0 else y_domain[0] / slope)
        back = max(x_domain[0], y_domain[0] / slope if slope > 0 else y_domain[1] / slope)
        ends = [(frame.x(x), frame.y(x * slope)) for x in (back, reach)]
        parts.append(path(ends, "line b"))
    return picture(240, parts, f"{y_title} against {x_title}, {len(known):,} pairs")


def vertical_mark(frame: Frame, where: Estimate) -> list[Markup]:
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


def strip_scale(values: Sequence[float], limits: tuple[float, float] | None) -> Scale:
    """Give the axis of a forest plot, in percent of the width of its column."""
    low, high = domain(values, limits)
    ticks = nice_ticks(low, high, 5)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    if limits:
        low, high = max(low, limits[0]), min(high, limits[1])
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
