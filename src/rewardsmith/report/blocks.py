"""What a section of the report is made of. Sections build these; the template draws each kind in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from markupsafe import Markup

from rewardsmith.records import Estimate
from rewardsmith.report.texts import Excerpt


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one report holds: characters per text, texts per list, rows per table.

    `brief` names the results whose details are left out: "none", those "without findings", or "all".
    """

    characters: int = 20_000
    examples: int = 10
    rows: int = 60
    brief: Literal["none", "without findings", "all"] = "none"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture with its caption."""

    kind: ClassVar[str] = "plot"
    drawing: Markup
    caption: str
    legend: Sequence[tuple[Markup, str]] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: text, a second line, a tone ("good", "bad", "warn") and the shade of a heat table, 0 to 1."""

    text: str
    sub: str = ""
    tone: str = ""
    shade: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of each row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left_out: int = 0
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
        left_out: rows that were left out.
        legend: marks and what they stand for.
        has_values: write the numbers beside the drawing.
    """

    kind: ClassVar[str] = "strips"
    caption: str
    rows: Sequence[StripRow]
    references: Sequence[tuple[float, str]] = ()
    limits: tuple[float, float] | None = None
    signed: bool = False
    left_out: int = 0
    legend: Sequence[tuple[Markup, str]] = ()
    has_values: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """Texts side by side: what was asked, and two or more answers with their heads."""

    head: str
    prompt: Excerpt | None
    answers: Sequence[tuple[str, str, Excerpt]]


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples to read."""

    kind: ClassVar[str] = "examples"
    caption: str
    items: Sequence[Example]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """Lines with a level: red, yellow or green."""

    kind: ClassVar[str] = "findings"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what its numbers mean, when they lie, and blocks."""

    title: str
    means: str
    lies: str
    blocks: Sequence[Plot | Table | Strips | Examples | Findings] = field(default_factory=tuple)
