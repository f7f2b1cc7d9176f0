"""Blocks as text: for a terminal of 80 columns or more, and as Markdown of a model card; pictures are left to the page.

Each section of a card stands between two markers that name it, so a second run replaces it and touches nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith._version import __version__
from rewardsmith.blocks.html import spread, write_cell
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
from rewardsmith.errors import ConfigError
from rewardsmith.records import Estimate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLOURS = {"red": "bold red", "yellow": "yellow", "green": "green", "bad": "red", "warn": "yellow", "good": "green"}
# Of a text to read, so that an example fits a few lines.
SHOWN = 200
# Characters of the longest bar.
BAR = 40
CARD = "README.md"
MEASURED = f"Measured by Rewardsmith {__version__}; intervals are clustered by prompt."


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


def require_folder(model: str | None) -> Path:
    """Return the folder of a local model. Raises ConfigError for anything else: nothing can be written there."""
    if model is None or not Path(model).is_dir():
        raise ConfigError(f"{model or 'a file of scores'}: is no folder of a model, so nothing can be written into it")
    return Path(model)


def new_card(title: str, blocks: Sequence[Block], **metadata: Any) -> str:
    """Return a whole model card: its metadata as YAML, a title and blocks as Markdown."""
    from huggingface_hub import ModelCard, ModelCardData

    head = ModelCardData(**metadata).to_yaml()
    return str(ModelCard(f"---\n{head}\n---\n\n# {title}\n\n{to_markdown(blocks)}\n").content)


def write_section(folder: Path, title: str, name: str, blocks: Sequence[Block]) -> Path:
    """Put blocks under a heading into the folder's model card: in place of an older section of `name`, else at the end.

    Args:
        folder: of the model; a card is begun where there is none.
        title: the heading.
        name: what the markers call the section, such as "evaluation of test.jsonl".
        blocks: what it holds; pictures and examples are left out.
    """
    path = folder / CARD
    content = path.read_text(encoding="utf-8") if path.is_file() else f"# Reward model: {folder.resolve().name}\n"
    begin, end = f"<!-- rewardsmith: {plain(name)} -->", f"<!-- rewardsmith: end of {plain(name)} -->"
    section = "\n".join([begin, f"## {title}", "", to_markdown(blocks), "", MEASURED, end])
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(content):
        content = pattern.sub(lambda _: section, content, count=1)
    else:
        content = content.rstrip("\n") + "\n\n" + section + "\n"
    path.write_text(content, encoding="utf-8")
    return path


def to_markdown(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown."""
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(_markdown_lines(block))))


def plain(text: str) -> str:
    """Return a name without what would break a table, a marker or the page."""
    return " ".join(re.sub(r"[`|<>]|--+", " ", text).split())


def _markdown_lines(block: Block) -> Iterator[str]:
    match block:
        case Verdict() | Paragraph():
            yield block.text
        case Facts():
            for fact in block.items:
                yield f"- {plain(fact.label)}: {plain(fact.value)}" + (f" ({plain(fact.note)})" if fact.note else "")
        case Table():
            yield from _markdown_table(spread(block))
        case Findings():
            for item in block.items:
                yield f"- {item.level}: {plain(item.text)}"


def _markdown_table(block: Table) -> Iterator[str]:
    """Return the lines of a table; the first column is left, the others are right."""
    yield f"| {' | '.join(map(plain, block.header))} |"
    yield f"|---|{'---:|' * (len(block.header) - 1)}"
    for row in block.rows:
        yield f"| {' | '.join(_markdown_cell(value) for value in row)} |"


def _markdown_cell(value: Value | Cell) -> str:
    written = write_cell(value)
    return plain(f"{written.text} {written.sub}")
