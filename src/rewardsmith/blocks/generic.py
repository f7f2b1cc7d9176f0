"""Values of any shape as blocks: estimates as a forest plot, a matrix as a heat table, the rest as a table.

What a newer audit measures appears on the page without a change elsewhere; nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.blocks.kinds import Block, Cell, StripRow, Strips, Table, Value
from rewardsmith.blocks.words import read_estimates, words, written
from rewardsmith.records import Estimate

MAX_DEPTH = 5


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
