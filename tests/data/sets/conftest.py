"""Rows of a published layout, written as JSON Lines and as Parquet and read through the catalogue."""

import json
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.data import load_preferences
from rewardsmith.data.opening import read_groups
from rewardsmith.data.sets import find
from rewardsmith.errors import RowError


def _essence(group):
    return (group.prompt, group.completions, group.comparisons, group.models, _known(group.ratings))


def _known(ratings):
    """Parquet gives every row the same fields: ratings that nobody gave are no ratings."""
    return {name: scores for name, scores in ratings.items() if any(score is not None for score in scores)}


def _items(name, rows):
    """Read rows in memory: groups, and errors of the rows that are left out; and how many rows there were."""
    entry, function = find(name)
    places = [(f"row {i}", row) for i, row in enumerate(rows, 1)]
    places = list(entry.unfold(places)) if entry.unfold else places
    return list(read_groups(entry, function, places)), len(places)


@pytest.fixture
def read_published(tmp_path):
    """Read clean rows from memory, JSON Lines and Parquet; all three must give the same groups.

    With `chosen` the reader must also be found by the columns alone.
    """

    def read(name, rows, chosen=False):
        groups, num_rows = _items(name, rows)
        lines, table = tmp_path / "rows.jsonl", tmp_path / "rows.parquet"
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
        pq.write_table(pa.Table.from_pylist(rows), table)
        for path in (lines, table):
            loaded = load_preferences(path, reader=name, merge_prompts=False)
            assert [_essence(g) for g in loaded] == [_essence(g) for g in groups]
            assert loaded.report.rows == num_rows
            assert not loaded.report.dropped
            if chosen:
                assert load_preferences(path).report.readers == [name]
        return groups

    return read


@dataclass
class Dirty:
    """What became of dirty rows."""

    groups: list
    reasons: Counter
    errors: list


@pytest.fixture
def read_dirty(tmp_path):
    """Read rows of which some are dirty; the report of the loader must count what the reader leaves out."""

    def read(name, rows):
        items, num_rows = _items(name, rows)
        errors = [item for item in items if isinstance(item, RowError)]
        reasons = Counter(error.reason for error in errors)
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        loaded = load_preferences(path, reader=name, merge_prompts=False, on_error="count")
        assert (loaded.report.rows, loaded.report.dropped) == (num_rows, reasons)
        return Dirty([item for item in items if not isinstance(item, RowError)], reasons, list(map(str, errors)))

    return read
