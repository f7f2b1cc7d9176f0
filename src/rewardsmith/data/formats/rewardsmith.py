"""Our own layout: the whole group as one JSON object, without loss.

In JSON Lines a row holds prompt, completions and comparisons as they are. In tables (Parquet), where a column has
one type, `encoding: "json"` says that prompt and completions are JSON text, because they are messages or token ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rewardsmith.data.formats.cells import (
    check_ids,
    check_list,
    check_mapping,
    check_number,
    check_side,
    decode_json,
    require,
)
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.errors import DataError, row_error
from rewardsmith.files.writing import open_rows, replace_when_done, to_json
from rewardsmith.records import Comparison, PreferenceGroup, as_plain

BATCH_GROUPS = 512
OPTIONAL = ("ratings", "models", "source", "group_id", "tools", "chat_template_kwargs", "metadata")
EDGE_DEFAULTS = {f.name: f.default for f in fields(Comparison)}


def write_row(group: PreferenceGroup) -> dict[str, Any]:
    """Return the group as a plain dictionary; fields at their default are left out."""
    row: dict[str, Any] = {
        "prompt": as_plain(group.prompt),
        "completions": [as_plain(completion) for completion in group.completions],
        "comparisons": [_write_edge(comparison) for comparison in group.comparisons],
    }
    for name in OPTIONAL:
        value = getattr(group, name)
        # An empty name is a name; an empty list or mapping says nothing.
        if value or (value is not None and name in ("source", "group_id")):
            row[name] = {k: list(v) for k, v in value.items()} if name == "ratings" else value
            if isinstance(row[name], tuple):
                row[name] = list(row[name])
    return row


@contextlib.contextmanager
def open_groups(path: Path) -> Iterator[Callable[[PreferenceGroup], None]]:
    """Give a function that writes one group without loss, as JSON or, for .parquet, as a table."""
    if path.suffix != ".parquet":
        with open_rows(path) as write:
            yield lambda group: write(write_row(group))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = table_schema()
    with replace_when_done(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        pending: list[dict[str, Any]] = []

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(pending, schema=schema))
            pending.clear()

        def write_group(group: PreferenceGroup) -> None:
            pending.append(write_table_row(group))
            if len(pending) >= BATCH_GROUPS:
                flush()

        yield write_group
        flush()


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read what `write_row` or `write_table_row` wrote."""
    if row.get("encoding") is not None:
        row = _decode_table_row(row, where)
    completions = []
    for index, value in enumerate(check_list(require(row, "completions", where), where, "completions")):
        column = f"completions[{index}]"
        is_ids = isinstance(value, list) and bool(value) and isinstance(value[0], int)
        completions.append(check_ids(value, where, column) if is_ids else check_side(value, where, column, empty=True))
    edges = check_list(require(row, "comparisons", where), where, "comparisons")
    extra = {name: row[name] for name in OPTIONAL if row.get(name) is not None}
    try:
        return PreferenceGroup(
            check_side(require(row, "prompt", where), where, "prompt", empty=True),
            tuple(completions),
            tuple(_read_edge(edge, where, f"comparisons[{index}]") for index, edge in enumerate(edges)),
            **{name: _read_optional(name, value, where) for name, value in extra.items()},
        )
    except DataError as error:
        # It names the row already.
        if str(error).startswith(where):
            raise
        raise row_error(where, "inconsistent group", str(error)) from error


def write_table_row(group: PreferenceGroup) -> dict[str, Any]:
    """Return the group with one type per column, for Parquet: see `table_schema`."""
    row = write_row(group)
    is_text = isinstance(group.prompt, str) and all(isinstance(c, str) for c in group.completions)
    encode = str if is_text else to_json
    return {
        "prompt": encode(row["prompt"]),
        "completions": [encode(completion) for completion in row["completions"]],
        "encoding": "text" if is_text else "json",
        # A column of Parquet has one type, so every comparison holds every field.
        "comparisons": [{**EDGE_DEFAULTS, **edge} for edge in row["comparisons"]],
        "source": group.source,
        "group_id": group.group_id,
        "extra": to_json({k: row[k] for k in OPTIONAL if k in row and k not in ("source", "group_id")}),
    }


def table_schema() -> Any:
    """Return the pyarrow schema of `write_table_row`."""
    import pyarrow as pa

    texts = ("outcome", "annotator", "time", "rationale")
    numbers = ("margin", "weight", "probability", "tie_share")
    edge = pa.struct(
        [("better", pa.int32()), ("worse", pa.int32())]
        + [(name, pa.string() if name in texts else pa.float64()) for name in (*texts, *numbers)]
    )
    columns = [("prompt", pa.string()), ("completions", pa.list_(pa.string())), ("encoding", pa.string())]
    columns += [("comparisons", pa.list_(edge)), ("source", pa.string()), ("group_id", pa.string())]
    return pa.schema([*columns, ("extra", pa.string())])


def _write_edge(comparison: Comparison) -> dict[str, Any]:
    """Return one comparison without the fields that are at their default."""
    values = {name: getattr(comparison, name) for name in EDGE_DEFAULTS}
    return {k: v for k, v in values.items() if k in ("better", "worse") or v != EDGE_DEFAULTS[k]}


def _read_edge(edge: object, where: str, column: str) -> Comparison:
    """Read one comparison; an unknown key is an error, since it would silently change what is learned."""
    values = check_mapping(edge, where, column)
    unknown = set(values) - set(EDGE_DEFAULTS)
    if unknown or not {"better", "worse"} <= set(values):
        problem = f"has the unknown key {min(unknown)!r}" if unknown else "needs 'better' and 'worse'"
        raise row_error(where, "inconsistent group", f"{column} {problem}; known: {', '.join(EDGE_DEFAULTS)}")
    for name in ("better", "worse"):
        number = check_number(values[name], where, f"{column}.{name}")
        if number != int(number):
            raise row_error(where, "wrong type", f"{column}.{name} must be the index of a completion, not {number}")
        values[name] = int(number)
    for name in ("margin", "weight", "probability", "tie_share"):
        if name in values:
            values[name] = check_number(values[name], where, f"{column}.{name}")
    for name in ("annotator", "time", "rationale"):
        if name in values:
            values[name] = str(values[name])
    return Comparison(**values)


def _read_optional(name: str, value: object, where: str) -> Any:
    """Give one optional field its type."""
    if name in ("source", "group_id"):
        return str(value)
    if name == "models":
        return tuple(None if m is None else str(m) for m in check_list(value, where, name))
    if name == "tools":
        return tuple(check_list(value, where, name))
    mapping = check_mapping(value, where, name)
    if name != "ratings":
        return mapping
    return {
        k: tuple(None if s is None else check_number(s, where, f"ratings.{k}") for s in check_list(v, where, k))
        for k, v in mapping.items()
    }


def _decode_table_row(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Unfold the table form into the JSON form."""
    plain = {name: row.get(name) for name in ("prompt", "completions", "comparisons", "source", "group_id")}
    if row["encoding"] == "json":
        texts = check_list(require(row, "completions", where), where, "completions")
        if not all(isinstance(text, str) for text in [*texts, row.get("prompt")]):
            raise row_error(where, "wrong type", "with encoding 'json', prompt and completions must be JSON text")
        plain["prompt"] = decode_json(row["prompt"], where, "prompt")
        plain["completions"] = [decode_json(text, where, f"completions[{i}]") for i, text in enumerate(texts)]
    elif row["encoding"] != "text":
        raise row_error(where, "wrong type", f"column 'encoding' must be 'text' or 'json', not {row['encoding']!r}")
    if row.get("extra"):
        plain.update(check_mapping(row["extra"], where, "extra"))
    return plain


FORMAT = Format(
    "rewardsmith",
    read_row,
    ({"completions", "comparisons"},),
    targets={
        "jsonl": Target(lambda group: [write_row(group)], is_lossless=True),
        "parquet": Target(lambda group: [write_table_row(group)], is_lossless=True),
    },
)
