"""Show values of any shape: estimates as a forest plot, a matrix as a heat table, the rest as a table.

What a newer audit measures appears in the report without a change here; nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.records import Estimate
from rewardsmith.report.blocks import Cell, Limits, StripRow, Strips, Table
from rewardsmith.report.numbers import read_estimate, read_estimates, show, show_estimate, show_interval
from rewardsmith.report.texts import clean, words

MAX_DEPTH = 5


def blocks_of(value: Mapping[str, Any], title: str, limits: Limits, depth: int = 0) -> list[Any]:
    """Give blocks for a mapping: estimates together, single values together, then what lies deeper."""
    blocks: list[Any] = []
    estimates = read_estimates(value)
    rest = {str(name): item for name, item in value.items() if str(name) not in estimates}
    if estimates:
        blocks += _by_unit(title, estimates, limits)
    single = {name: item for name, item in rest.items() if is_single(item)}
    if single:
        rows = [[Cell(words(name)), Cell(written(item))] for name, item in single.items()]
        blocks.append(Table(title, ("name", "value"), rows[: limits.rows], max(0, len(rows) - limits.rows)))
    for name, item in rest.items():
        if name not in single and depth < MAX_DEPTH:
            blocks += _deeper(item, f"{title}: {words(name)}" if depth < 2 else words(name), limits, depth)
    return blocks


def is_single(value: Any) -> bool:
    """Whether a value fits into one cell: a number, text, or a short list of such."""
    if isinstance(value, list | tuple):
        return len(value) <= 20 and all(item is None or isinstance(item, int | float | str) for item in value)
    return not isinstance(value, Mapping)


def written(value: Any) -> str:
    """Write a single value."""
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
    return clean(str(value)[:400])


def heat_table(matrix: Mapping[str, Any], caption: str, limits: Limits) -> Table:
    """Give a matrix of estimates; the shade runs from the lowest value to the highest."""
    cells = {row: read_estimates(columns) for row, columns in matrix.items()}
    columns = list(dict.fromkeys(name for row in cells.values() for name in row))
    known = [e.value for row in cells.values() for e in row.values() if math.isfinite(e.value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)

    def cell(estimate: Estimate | None) -> Cell:
        if estimate is None:
            return Cell("not measured")
        if not math.isfinite(estimate.value):
            return Cell(f"undefined (n={estimate.n:,})")
        shade = (estimate.value - low) / (high - low) if high > low else 0.5
        interval = show_interval(estimate)
        return Cell(show(estimate.value), f"{interval}\nn={estimate.n:,}".strip(), shade=shade)

    rows = [[Cell(words(name)), *(cell(row.get(column)) for column in columns)] for name, row in cells.items()]
    left_out = max(0, len(rows) - limits.rows)
    return Table(caption, ("", *map(words, columns)), rows[: limits.rows], left_out, wide=True)


def _by_unit(title: str, estimates: Mapping[str, Estimate], limits: Limits) -> list[Strips]:
    """Draw estimates, very large and very small ones apart from the others, so that one axis serves each."""
    groups: dict[int, list[StripRow]] = {}
    for name, estimate in estimates.items():
        ends = [abs(v) for v in (estimate.value, estimate.low, estimate.high) if math.isfinite(v)]
        groups.setdefault(_size(max(ends, default=0.0)), []).append(StripRow(words(name), estimate))
    blocks = []
    for rows in groups.values():
        kept = rows[: limits.rows]
        blocks.append(Strips(title, kept, [(0.0, "zero")], left_out=len(rows) - len(kept)))
    return blocks


def _size(value: float) -> int:
    """Give 0 for what is drawn beside shares and correlations, 1 for larger, -1 for much smaller values."""
    return 1 if value > 2 else -1 if 0 < value < 0.02 else 0


def _deeper(value: Any, title: str, limits: Limits, depth: int) -> list[Any]:
    if isinstance(value, Mapping):
        rows = [read_estimates(item) for item in value.values()]
        if rows and all(rows) and len({tuple(row) for row in rows}) == 1:
            return [heat_table(value, title, limits)]
        return blocks_of(value, title, limits, depth + 1)
    if isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
        return [_records(value, title, limits)]
    kept = [[Cell(written(item))] for item in value[: limits.rows]]
    return [Table(title, ("value",), kept, len(value) - len(kept))]


def _records(rows: Sequence[Mapping[str, Any]], title: str, limits: Limits) -> Table:
    """Give a list of records as a table."""
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [[Cell(written(row.get(name)) if name in row else "") for name in columns] for row in rows[: limits.rows]]
    return Table(title, [words(name) for name in columns], cells, max(0, len(rows) - limits.rows))
