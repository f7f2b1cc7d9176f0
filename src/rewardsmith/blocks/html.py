"""Blocks as one HTML page: self-contained, escaped, below a size limit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from rewardsmith._version import __version__
from rewardsmith.blocks.kinds import Block, Cell, Entry, Findings, Page, Table, Value
from rewardsmith.blocks.plots import draw, legend_mark, marks_of, strip, strip_axis, strip_scale
from rewardsmith.blocks.words import clean, excerpt, show, show_interval, written
from rewardsmith.errors import DataError
from rewardsmith.records import Estimate

MAX_BYTES = 2_000_000
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one page holds: characters per text, texts per list, rows per table.

    `brief` names the entries that keep only their essential sections: "none", those "without findings", or "all".
    """

    characters: int = 20_000
    examples: int = 10
    rows: int = 60
    brief: Literal["none", "without findings", "all"] = "none"


# Tried in this order until the page is small enough.
TIERS = (
    *(Limits(), Limits(4_000), Limits(1_000, 5), Limits(400, 3, 30), Limits(200, 1, 15), Limits(200, 1, 6)),
    *(Limits(1_000, 3, 30, "without findings"), Limits(200, 1, 15, "without findings")),
    *(Limits(200, 1, 15, "all"), Limits(200, 1, 3, "all")),
)


@dataclass(frozen=True, slots=True)
class Written:
    """A cell as text: value, second line, tone and shade."""

    text: str
    sub: str
    tone: str
    shade: float | None


def render_page(page: Page, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of a page; equal pages give equal bytes.

    Texts, lists and tables are cut in steps until the page is below `max_bytes`, and the page says so.

    Raises:
        DataError: even shortened it is above `max_bytes`.
    """
    size = 0
    for tier, limits in enumerate(TIERS):
        raw = _render(_brief(page, limits), limits, is_shortened=tier > 0)
        size = len(raw)
        if size < max_bytes:
            return raw
    raise DataError(f"the page has {size:,} bytes, above {max_bytes / 1e6:g} MB; report fewer results at a time")


def render_blocks(blocks: Sequence[Block], limits: Limits | None = None) -> str:
    """Return blocks as a piece of HTML with its style, for notebooks."""
    names = {"page": None, "blocks": blocks, "limits": limits or Limits(1_000, 5, 30), "style": _inner_style()}
    return _template().render(**names)


def render_facts(facts: Mapping[str, Value]) -> str:
    """Return names and values as a small table for notebooks, of a result that is no more than a few counts."""
    return render_blocks([Table("", ("", ""), [[name, value] for name, value in facts.items()])])


def write_cell(value: Value | Cell) -> Written:
    """Write a cell of a table. An estimate has its interval and n on a second line."""
    cell = value if isinstance(value, Cell) else Cell(value)
    inner = cell.value
    if not isinstance(inner, Estimate):
        text = inner if isinstance(inner, str) else show(inner) if isinstance(inner, float) else written(inner)
        return Written(cell.sign + text, cell.sub, cell.tone, cell.shade)
    if inner.value != inner.value:
        return Written(f"undefined (n={inner.n:,})", cell.sub, cell.tone, cell.shade)
    sub = cell.sub or f"{show_interval(inner, cell.signed)}\nn={inner.n:,}".strip()
    return Written(cell.sign + show(inner.value, cell.signed), sub, cell.tone, cell.shade)


def spread(table: Table) -> Table:
    """Return a table of one column of estimates with their intervals and n in columns of their own; others as is."""
    if len(table.header) != 2 or not all(isinstance(_bare(row[1]), Estimate) for row in table.rows):
        return table
    return replace(table, header=(*table.header, "95% interval", "n"), rows=list(map(_spread_row, table.rows)))


def _spread_row(row: Sequence[Value | Cell]) -> list[Value | Cell]:
    estimate, cell = _bare(row[1]), row[1] if isinstance(row[1], Cell) else Cell("")
    assert isinstance(estimate, Estimate)
    value = Cell(cell.sign + show(estimate.value, cell.signed), tone=cell.tone)
    return [row[0], value, show_interval(estimate, cell.signed) or "none", f"{estimate.n:,}"]


def _bare(value: Value | Cell) -> Value:
    return value.value if isinstance(value, Cell) else value


def _brief(page: Page, limits: Limits) -> Page:
    """Return the page with the essential sections alone where the limits ask for it."""
    if limits.brief == "none":
        return page
    chapters = [
        replace(chapter, entries=[_brief_entry(entry, limits) for entry in chapter.entries])
        for chapter in page.chapters
    ]
    return replace(page, chapters=chapters)


def _brief_entry(entry: Entry, limits: Limits) -> Entry:
    if limits.brief == "without findings" and any(_findings(entry)):
        return entry
    kept = [section for section in entry.sections if section.is_essential]
    note = f"{len(entry.sections) - len(kept)} sections left out here; the JSON result has them"
    return replace(entry, facts=[*entry.facts, note], sections=kept)


def _findings(entry: Entry) -> Iterator[Findings]:
    return (block for section in entry.sections for block in section.blocks if isinstance(block, Findings))


def _render(page: Page, limits: Limits, *, is_shortened: bool) -> bytes:
    names = {"page": page, "limits": limits, "is_shortened": is_shortened, "alarms": _alarms(page)}
    text = _template().render(**names, style=_style(), version=__version__)
    return text.lstrip().encode("utf-8")


def _alarms(page: Page) -> list[tuple[str, str, list[str]]]:
    """Gather the red findings of all entries: anchor, where, texts."""
    alarms = []
    for number, chapter in enumerate(page.chapters, 1):
        for place, entry in enumerate(chapter.entries, 1):
            found = [item.text for block in _findings(entry) for item in block.items if item.level == "red"]
            if found:
                alarms.append((f"m{number}-d{place}", f"{chapter.title}, {entry.title}", found))
    return alarms


def prose(text: object) -> Markup:
    """Return a sentence of ours for a page: what stands between backticks as code."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return escape(clean(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def has_long_word(text: object) -> bool:
    """Return whether a heading holds a word that no column has room for, as names of models do."""
    return any(len(word) > 20 for word in re.split(r"[\s-]", clean(text)))


@lru_cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever stands on a page is made safe to look at here, so no section has to think of it.
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    environment.globals.update(show=show, show_interval=show_interval, excerpt=excerpt, write=write_cell, spread=spread)
    environment.globals.update(prose=prose, has_long_word=has_long_word)
    environment.globals.update(
        draw=draw,
        legend_mark=legend_mark,
        marks_of=marks_of,
        strip=strip,
        strip_axis=strip_axis,
        strip_scale=strip_scale,
    )
    return environment.get_template("page.html")


@lru_cache
def _style() -> Markup:
    return Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))


@lru_cache
def _inner_style() -> Markup:
    """Return the style of the page for a piece of another one: nested, so that it touches nothing around it."""
    inner = re.sub(r"(?m)^(\s*)(?::root|html|body) \{", r"\1& {", str(_style()))
    return Markup(f".rewardsmith {{\n{inner}\n}}")
