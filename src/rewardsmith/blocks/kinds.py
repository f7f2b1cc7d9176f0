"""What a page, a terminal, a model card and a JSON file show: records of data, drawn elsewhere.

A block holds values, never text that was made for one medium: `html`, `terminal` and `card` write numbers, cut long
lists and name invisible characters, each in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal

from rewardsmith.records import Estimate

Value = str | int | float | Estimate | None
Tone = Literal["", "good", "bad", "warn"]
# Marks of a legend: four points of different shape, dots, or a line of a class of the style sheet.
Legend = Sequence[tuple[str, str]]
# How the levels of findings are coloured.
TONES: dict[str, Tone] = {"green": "good", "yellow": "warn", "red": "bad"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: a value, a second line, a tone and the shade of a heat table, 0 to 1.

    An Estimate is written with its interval below it; `sign` stands before the value.
    """

    value: Value
    sub: str = ""
    tone: Tone = ""
    shade: float | None = None
    signed: bool = False
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion in one line, above everything else."""

    kind: ClassVar[str] = "verdict"
    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure: what it is, its value, what it means, and whether to look at it."""

    label: str
    value: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Figures one below the other, each with a note."""

    kind: ClassVar[str] = "facts"
    items: Sequence[Fact]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of each row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Value | Cell]]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class StripRow:
    """One line of a forest plot: a name, an estimate with its interval, and what else is to be said.

    `marks` draws several estimates, each with a tone, in place of `estimate`.
    """

    label: str
    estimate: Estimate | None = None
    sub: str = ""
    badge: str = ""
    tone: str = "a"
    marks: Sequence[tuple[Estimate, str]] = ()
    references: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True, slots=True)
class Strips:
    """A forest plot as a table: intervals on one common axis.

    Args:
        caption: what is shown, and its unit.
        rows: in order.
        references: vertical lines through all rows: value and class ("zero", "reference").
        limits: the axis does not go beyond.
        signed: write a plus sign.
        legend: marks and what they stand for.
        has_values: write the numbers beside the drawing.
    """

    kind: ClassVar[str] = "strips"
    caption: str
    rows: Sequence[StripRow]
    references: Sequence[tuple[float, str]] = ()
    limits: tuple[float, float] | None = None
    signed: bool = False
    legend: Legend = ()
    has_values: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """A series of estimates over x, drawn in a tone with its band."""

    name: str
    tone: str
    points: Sequence[tuple[float, Estimate]]


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves with bands over one pair of axes; `mark` is a vertical line at an estimate, with its interval."""

    kind: ClassVar[str] = "plot"
    caption: str
    x_title: str
    y_title: str
    series: Sequence[Curve]
    mark: Estimate | None = None
    legend: Legend = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges. `splits_at_zero` outlines the bars left of zero, where a margin is wrong.

    With `labels`, one a bin, the terminal draws it too.
    """

    kind: ClassVar[str] = "plot"
    caption: str
    x_title: str
    edges: Sequence[float]
    counts: Sequence[int]
    y_title: str = "judged pairs"
    splits_at_zero: bool = False
    labels: Sequence[str] = ()
    legend: Legend = ()


@dataclass(frozen=True, slots=True)
class Scatter:
    """Pairs of differences as dots, the zero lines, and a line of `slope` through the origin (NaN draws none)."""

    kind: ClassVar[str] = "plot"
    caption: str
    x_title: str
    y_title: str
    points: Sequence[tuple[float, float]]
    slope: float = math.nan
    legend: Legend = ()


@dataclass(frozen=True, slots=True)
class Reliability:
    """Accuracy against confidence in bins: confidence, and accuracy with its interval and n."""

    kind: ClassVar[str] = "plot"
    caption: str
    bins: Sequence[tuple[float, Estimate]]
    legend: Legend = ()


Plot = Curves | Histogram | Scatter | Reliability


@dataclass(frozen=True, slots=True)
class Example:
    """Texts side by side: what was asked, and answers as (name, what is said of it, text).

    `is_judged`: the first answer is drawn as the better one, the second as the worse one.
    """

    head: str
    prompt: str
    answers: Sequence[tuple[str, str, str]]
    is_judged: bool = True


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples to read."""

    kind: ClassVar[str] = "examples"
    caption: str
    items: Sequence[Example]


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One conclusion: its level, what was found, and what to do about it."""

    level: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Conclusions, worst first."""

    kind: ClassVar[str] = "findings"
    items: Sequence[FindingLine]


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that stand folded below a line until they are asked for."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: Sequence[Block]


Block = Verdict | Paragraph | Facts | Table | Strips | Plot | Examples | Findings | Details


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what its numbers mean, when they lie, and blocks.

    `is_essential` sections stay where a page of very many results leaves details out.
    """

    title: str
    means: str
    lies: str
    blocks: Sequence[Block] = ()
    is_essential: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """Sections under a heading that can be folded, with facts in a line."""

    title: str
    facts: Sequence[str]
    sections: Sequence[Section]


@dataclass(frozen=True, slots=True)
class Chapter:
    """Entries under a heading; `note` says more of the title, such as the whole path."""

    title: str
    entries: Sequence[Entry]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page: title, verdict, facts in a line, then sections, then chapters."""

    title: str
    sections: Sequence[Section] = ()
    chapters: Sequence[Chapter] = ()
    intro: str = ""
    verdict: Verdict | None = None
    facts: Sequence[str] = ()


def as_plain(item: object) -> Any:
    """Return blocks, sections or a page as values for JSON; a block says what it is under `kind`."""
    if isinstance(item, Estimate):
        return item.to_dict()
    if is_dataclass(item):
        kind = {"kind": item.kind} if hasattr(item, "kind") else {}
        return kind | {field.name: as_plain(getattr(item, field.name)) for field in fields(item)}
    if isinstance(item, Mapping):
        return {str(key): as_plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [as_plain(value) for value in item]
    return None if isinstance(item, float) and not math.isfinite(item) else item
