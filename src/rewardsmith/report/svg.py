"""The little that our plots need of SVG: elements, scales, ticks and a frame with axes.

Colours are classes, which the style sheet sets for light, dark and print; shapes and dashes repeat what colours say.
Every plot is drawn 360 units wide, about the width of a phone, so that its letters stay legible there.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.report.texts import clean

WIDTH = 360


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from numbers [low, high] to units of the picture [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Give the place of `value`, kept inside the picture."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Give about `count` round numbers inside."""
        return [tick for tick in nice_ticks(self.low, self.high, count) if self.low <= tick <= self.high]


@dataclass(frozen=True, slots=True)
class Frame:
    """The two scales of a plot."""

    x: Scale
    y: Scale


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Give round numbers that cover [low, high] in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def domain(values: Iterable[float], limits: tuple[float, float] | None = None) -> tuple[float, float]:
    """Give an interval around the finite `values` with some room, inside `limits`; (0, 1) without any value."""
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
    """Give an SVG of the common width with a text alternative."""
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


def marker(x: float, y: float, tone: str) -> Markup:
    """Draw a point; the four tones differ in shape too."""
    if tone == "b":
        return element("rect", x=x - 4, y=y - 4, width=8, height=8, class_="mark b")
    if tone == "c":
        return path([(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)], "mark c", closed=True)
    if tone == "d":
        return path([(x, y - 5.5), (x + 5.5, y), (x, y + 5.5), (x - 5.5, y)], "mark d", closed=True)
    return element("circle", cx=x, cy=y, r=4.2, class_=f"mark {tone}")


def legend_mark(tone: str) -> Markup:
    """Draw what stands before a name in a legend: a point, or a line of the class `tone`."""
    if tone in ("a", "b", "c", "d"):
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
