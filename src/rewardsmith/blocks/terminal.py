"""Blocks as text for a terminal of 80 columns or more; pictures are left to the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rewardsmith.blocks.html import spread
from rewardsmith.blocks.kinds import (
    Block,
    Cell,
    Details,
    Examples,
    Facts,
    Findings,
    Histogram,
    Paragraph,
    Section,
    Strips,
    Table,
    Value,
    Verdict,
)
from rewardsmith.blocks.plots import marks_of
from rewardsmith.blocks.words import clean, show, show_estimate, show_interval, written
from rewardsmith.records import Estimate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLOURS = {"red": "bold red", "yellow": "yellow", "green": "green", "bad": "red", "warn": "yellow", "good": "green"}
# Of a text to read, so that an example fits a few lines.
SHOWN = 200
# Characters of the longest bar.
BAR = 40


def print_blocks(blocks: Sequence[Block], console: Console | None = None) -> None:
    """Print blocks, one below the other."""
    from rich.console import Console

    console = console or Console()
    for block in blocks:
        for item in draw_block(block):
            console.print(item, soft_wrap=isinstance(block, Findings | Paragraph | Verdict | Examples))


def print_sections(sections: Sequence[Section], console: Console | None = None) -> None:
    """Print sections, each under its title."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = console or Console()
    for section in sections:
        console.print(Text(f"\n{clean(section.title)}", style="bold"))
        for block in section.blocks:
            for item in draw_block(block):
                console.print(Padding(item, (1, 0, 0, 2)) if isinstance(block, Table) else item)


def draw_block(block: Block) -> Iterator[RenderableType]:
    """Return what `rich` prints for a block; nothing for a picture."""
    from rich.text import Text

    match block:
        case Verdict():
            yield Text(clean(block.text), style=f"bold {COLOURS.get(block.tone, '')}".strip())
        case Paragraph():
            yield Text(clean(block.text))
        case Facts():
            yield _facts(block)
        case Histogram() if block.labels:
            yield from _bars(block)
        case Table():
            yield _table(spread(block))
        case Strips():
            yield _table(_strips(block))
        case Examples():
            yield from _examples(block)
        case Findings():
            for item in block.items:
                yield Text(f"{item.level:<7}", style=COLOURS[item.level]) + Text(clean(item.text))
                if item.advice:
                    yield Text(f"       {clean(item.advice)}", style="dim")
        case Details():
            for inner in block.blocks:
                yield from draw_block(inner)


def _facts(block: Facts) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    lines = RichTable.grid(padding=(0, 2))
    lines.add_column(min_width=22)
    lines.add_column(justify="right")
    lines.add_column(style="dim", ratio=1, overflow="fold")
    for item in block.items:
        value = Text(clean(item.value), style=COLOURS.get(item.tone, ""))
        lines.add_row(Text(clean(item.label)), value, Text(clean(item.note)))
    return Padding(lines, (0, 0, 0, 2))


def _bars(block: Histogram) -> Iterator[RenderableType]:
    """Draw a histogram as bars of text."""
    from rich.padding import Padding
    from rich.text import Text

    yield Padding(Text(clean(block.caption)), (1, 0, 0, 2))
    highest = max(*block.counts, 1)
    for label, count in zip(block.labels, block.counts, strict=True):
        bar = "█" * max(1, round(BAR * count / highest)) if count else ""
        yield Text(f"  {label:>14}  {bar} {count:,}")


def _table(block: Table) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title=Text(clean(block.caption)), title_justify="left", title_style="")
    for place, name in enumerate(block.header):
        table.add_column(Text(clean(name)), justify="right" if place else "left", overflow="fold")
    for row in block.rows:
        table.add_row(*(_cell(value, len(block.header)) for value in row))
    return table


def _cell(value: Value | Cell, num_columns: int) -> RenderableType:
    from rich.text import Text

    cell = value if isinstance(value, Cell) else Cell(value)
    inner = cell.value
    if not isinstance(inner, Estimate):
        text = inner if isinstance(inner, str) else show(inner) if isinstance(inner, float) else written(inner)
    elif num_columns == 2 or math.isnan(inner.value):
        text = show_estimate(inner, cell.signed)
    else:
        text = "\n".join(filter(None, (show(inner.value, cell.signed), show_interval(inner, cell.signed))))
    return Text(clean(cell.sign + text), style=COLOURS.get(cell.tone, ""))


def _strips(block: Strips) -> Table:
    """Return a forest plot as a table of its numbers; one of several marks a line gives a line to each mark."""
    rows: list[list[Value | Cell]] = []
    for row in block.rows:
        label = f"{row.badge}: {row.label}" if row.badge else row.label
        for estimate, _ in marks_of(row):
            tone = "bad" if row.badge else ""
            value = Cell(show(estimate.value, block.signed), tone=tone)  # type: ignore[arg-type]
            rows.append([label, value, show_interval(estimate, block.signed), f"{estimate.n:,}"])
    return Table(block.caption, ("", "value", "95% interval", "n"), rows)


def _examples(block: Examples) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text(f"{clean(block.caption)}:")
    for item in block.items:
        yield Text(f"\n{clean(item.head)}")
        texts = [("prompt", item.prompt), *((name, text) for name, _, text in item.answers)]
        for name, text in texts:
            yield Text(f"  {name}: {' '.join(clean(text).split())[:SHOWN]}")
