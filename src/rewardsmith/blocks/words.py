"""Numbers and foreign text as people read them: the only place where either becomes words.

NaN is "undefined", never 0. In text that others wrote what cannot be seen is named, and what is long is cut and
counted. Escaping for HTML is the template's work (autoescape); here goes what escaping leaves: marks that turn the
direction of writing, null bytes, invisible characters, lone surrogates.

`blocks_of` makes blocks of values of any shape: what a newer audit measures appears on the page without a change
elsewhere; nothing is dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.blocks.kinds import Block, Cell, StripRow, Strips, Table, Value
from rewardsmith.records import Estimate

SHOWN = 480
LINES = 14
# A list of names that is longer is shown by its number.
LONG_LIST = 40
# A single value of a result that is longer is no value but a text.
MAX_VALUE = 400

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Direction marks, zero width, separators, tags, surrogates and non-characters: shown by their number.
_UNSEEN = re.compile(
    "[\x80-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
MAX_DEPTH = 5


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text as the report holds it: the part in sight, the part to unfold, and how many characters were left out."""

    shown: str
    rest: str
    left_out: int
    total: int


def clean(value: object) -> str:
    """Return `value` as text in which nothing is invisible and nothing changes the direction of writing.

    Example:
        >>> clean("a\\x00b\\u202ec")
        'a␀b⟨U+202E⟩c'
    """
    text = str(value).replace("\r\n", "\n")
    text = _CONTROLS.sub(lambda match: "␡" if match[0] == "\x7f" else chr(0x2400 + ord(match[0])), text)
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def excerpt(value: object, limit: int) -> Excerpt:
    """Return the beginning of a text and, up to `limit` characters of it, what can be unfolded."""
    text = str(value)
    kept = text[:limit]
    border = min(SHOWN, len(kept))
    lines = [match.end() for match in re.finditer("\n", kept[:border])]
    if len(lines) > LINES:
        border = lines[LINES]
    # A few characters more are no reason to unfold.
    if len(text) - border < 80 and len(kept) == len(text):
        border = len(kept)
    space = kept.rfind(" ", max(0, border - 30), border)
    if border < len(kept) and space > 0:
        border = space
    return Excerpt(clean(kept[:border]), clean(kept[border:]), len(text) - len(kept), len(text))


def times(count: int, noun: str) -> str:
    """Return "1 row" or "2,000 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def words(name: object) -> str:
    """Return a key such as `tie_rate` as words."""
    return clean(name).replace("_", " ")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return for each name the shortest end of its path that no other shares; of a long list of names, their number."""
    parts = {name: [part for part in re.split(r"[/\\]+", name) if part] or [name] for name in names}
    short = {}
    for name, own in parts.items():
        size = 1
        while size < len(own) and any(other != name and parts[other][-size:] == own[-size:] for other in parts):
            size += 1
        short[name] = clean("/".join(own[-size:]))
        if len(short[name]) > LONG_LIST and name.count(", ") > 1:
            short[name] = f"all {name.count(', ') + 1} data sets"
    return short


def read_number(value: object) -> float:
    """Return a number, NaN for None, for text and for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def read_estimate(value: object) -> Estimate | None:
    """Read an Estimate or its dictionary; None when `value` is neither."""
    if isinstance(value, Estimate):
        return value
    if not isinstance(value, Mapping) or not {"value", "n"} <= set(value):
        return None
    n = read_number(value["n"])
    low, high = read_number(value.get("low")), read_number(value.get("high"))
    return Estimate(read_number(value["value"]), 0 if math.isnan(n) else int(n), low, high)


def read_estimates(value: object) -> dict[str, Estimate]:
    """Return the entries of a mapping that are estimates."""
    if not isinstance(value, Mapping):
        return {}
    found = {str(name): read_estimate(item) for name, item in value.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def show(value: float, signed: bool = False) -> str:
    """Return a number in three decimals or digits, fewer when it is large, a power of ten when it is tiny.

    Example:
        >>> show(0.51234), show(12345.6), show(float("nan")), show(0.00001)
        ('0.512', '12,346', 'undefined', '1.0e-05')
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    sign = "+" if signed else ""
    size = abs(value)
    if size >= 1000:
        return f"{value:{sign},.0f}"
    if 0 < size < 0.0001:
        return f"{value:{sign}.1e}"
    if 0 < size < 0.01:
        return f"{value:{sign}.3g}"
    return f"{value:{sign}.{1 if size >= 100 else 3}f}"


def show_interval(estimate: Estimate, signed: bool = False) -> str:
    """Return "low to high", "low or more" without an upper end, or nothing without an interval."""
    if math.isnan(estimate.low):
        return ""
    if math.isnan(estimate.high):
        return f"{show(estimate.low, signed)} or more"
    return f"{show(estimate.low, signed)} to {show(estimate.high, signed)}"


def show_estimate(estimate: Estimate, signed: bool = False) -> str:
    """Return value, interval and n on one line; an undefined value is "undefined (n=...)"."""
    if math.isnan(estimate.value):
        return f"undefined (n={estimate.n:,})"
    interval = show_interval(estimate, signed)
    return f"{show(estimate.value, signed)}{f' [{interval}]' if interval else ''} (n={estimate.n:,})"


def written(value: object) -> str:
    """Return any single value of a result as text."""
    estimate = read_estimate(value)
    if estimate is not None:
        return show_estimate(estimate)
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return show(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(written, value)) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{words(name)}: {written(item)}" for name, item in value.items()) or "none"
    return clean(str(value)[:MAX_VALUE])


def blocks_of(value: Mapping[str, Any], title: str, depth: int = 0) -> list[Block]:
    """Return blocks for a mapping: estimates together, single values together, then what lies deeper."""
    blocks: list[Block] = []
    estimates = read_estimates(value)
    rest = {str(name): item for name, item in value.items() if str(name) not in estimates}
    if estimates:
        blocks += _by_unit(title, estimates)
    single = {name: item for name, item in rest.items() if is_single(item)}
    if single:
        rows = [[words(name), written(item)] for name, item in single.items()]
        blocks.append(Table(title, ("name", "value"), rows))
    for name, item in rest.items():
        if name not in single and depth < MAX_DEPTH:
            blocks += _deeper(item, f"{title}: {words(name)}" if depth < 2 else words(name), depth)
    return blocks


def is_single(value: object) -> bool:
    """Whether a value fits into one cell: a number, text, or a short list of such."""
    if isinstance(value, list | tuple):
        return len(value) <= 20 and all(item is None or isinstance(item, int | float | str) for item in value)
    return not isinstance(value, Mapping)


def heat_table(matrix: Mapping[str, Any], caption: str) -> Table:
    """Return a matrix of estimates; the shade runs from the lowest value to the highest."""
    cells = {row: read_estimates(columns) for row, columns in matrix.items()}
    columns = list(dict.fromkeys(name for row in cells.values() for name in row))
    known = [e.value for row in cells.values() for e in row.values() if math.isfinite(e.value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)

    def cell(estimate: Estimate | None) -> Value | Cell:
        if estimate is None:
            return "not measured"
        if not math.isfinite(estimate.value):
            return estimate
        return Cell(estimate, shade=(estimate.value - low) / (high - low) if high > low else 0.5)

    rows = [[words(name), *(cell(row.get(column)) for column in columns)] for name, row in cells.items()]
    return Table(caption, ("", *map(words, columns)), rows, wide=True)


def _by_unit(title: str, estimates: Mapping[str, Estimate]) -> list[Block]:
    """Draw estimates, very large and very small ones apart from the others, so that one axis serves each."""
    groups: dict[int, list[StripRow]] = {}
    for name, estimate in estimates.items():
        ends = [abs(v) for v in (estimate.value, estimate.low, estimate.high) if math.isfinite(v)]
        groups.setdefault(_size(max(ends, default=0.0)), []).append(StripRow(words(name), estimate))
    return [Strips(title, rows, [(0.0, "zero")]) for rows in groups.values()]


def _size(value: float) -> int:
    """Return 0 for what is drawn beside shares and correlations, 1 for larger, -1 for much smaller values."""
    return 1 if value > 2 else -1 if 0 < value < 0.02 else 0


def _deeper(value: Any, title: str, depth: int) -> list[Block]:
    if isinstance(value, Mapping):
        rows = [read_estimates(item) for item in value.values()]
        if rows and all(rows) and len({tuple(row) for row in rows}) == 1:
            return [heat_table(value, title)]
        return blocks_of(value, title, depth + 1)
    if isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
        return [_records(value, title)]
    return [Table(title, ("value",), [[written(item)] for item in value])]


def _records(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Return a list of records as a table."""
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [[written(row.get(name)) if name in row else "" for name in columns] for row in rows]
    return Table(title, [words(name) for name in columns], cells)
