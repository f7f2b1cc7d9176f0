"""What a benchmark gives, and the pieces that several benchmarks' files share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.errors import DataError
from rewardsmith.evaluation.estimates import bootstrap_mean
from rewardsmith.evaluation.metrics import Resampling, best_of_k, margins, prompt_clusters
from rewardsmith.evaluation.scored import ScoredGroup
from rewardsmith.preferences.files import read_rows
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "rewardsmith.benchmark"
SCHEMA_VERSION = 1
Row = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One benchmark's headline by its authors' rule, with its parts. Averages of parts carry no interval."""

    benchmark: str
    scorer: str
    score: Estimate
    parts: dict[str, Estimate]
    scored: Sequence[ScoredGroup]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "benchmark": self.benchmark,
            "scorer": self.scorer,
            "score": self.score.to_dict(),
            "parts": {name: part.to_dict() for name, part in self.parts.items()},
        }

    def table(self) -> Table:
        """Give the parts and the headline as a table for the terminal."""
        from rich.table import Table

        table = Table("part", "value", "95% interval", "n", title=f"{self.benchmark}: {self.scorer}")
        for name, part in {**self.parts, "score": self.score}.items():
            interval = "" if math.isnan(part.low) else f"{part.low:.3f} to {part.high:.3f}"
            table.add_row(name, f"{part.value:.4f}", interval, str(part.n))
        return table


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How a benchmark is read and scored.

    Args:
        read: row to groups, given where the row stands.
        summarise: scored groups to headline and parts.
        split: of the hub data set.
    """

    read: Callable[[str, Mapping[str, Any]], Iterator[PreferenceGroup]]
    summarise: Callable[[Sequence[ScoredGroup], Resampling], tuple[Estimate, dict[str, Estimate]]]
    split: str = "test"


def rows_of(source: str | Path, split: str) -> Iterator[Row]:
    """Give the rows of a file, of all files of a folder (sorted), or of a hub data set."""
    path = Path(source)
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.suffix in (".json", ".jsonl", ".parquet") and p.is_file()]
        if not files:
            raise DataError(f"{path}: no .json, .jsonl or .parquet file in this folder")
        for file in files:
            yield from rows_of(file, split)
    elif path.suffix == ".json" and path.is_file():
        yield from _json_rows(path)
    elif path.is_file():
        yield from read_rows(path)
    else:
        yield from _hub_rows(str(source), split)


def _json_rows(path: Path) -> Iterator[Row]:
    """Read a JSON list, or a JSON object whose values are lists of rows (each row then knows its `_key`)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); use .jsonl for one object a line") from error
    parts = content.items() if isinstance(content, dict) else [(None, content)]
    for key, rows in parts:
        if not isinstance(rows, list):
            raise DataError(f"{path}: {key!r} holds no list of rows")
        for index, row in enumerate(rows):
            yield f"{path.name}:row {index}", row if key is None else {**row, "_key": key}


def _hub_rows(name: str, split: str) -> Iterator[Row]:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise DataError(f"{name}: no such file or folder, and not a hub id like 'owner/name'")
    from datasets import load_dataset

    try:
        data = load_dataset(name, split=split)
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this data set cannot be had.
        raise DataError(f"{name}: the hub cannot give it: {' '.join(str(error).split())[:200]}") from error
    for index, row in enumerate(data):
        yield f"{name}:row {index}", row


def need(where: str, row: Mapping[str, Any], *names: str) -> Any:
    """Give the first of `names` that the row has. Raises DataError."""
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise DataError(f"{where}: needs {' or '.join(map(repr, names))}; found {sorted(map(str, row))}")


def best_first(where: str, prompt: Any, completions: Sequence[Any], **metadata: Any) -> PreferenceGroup:
    """Build a group whose first completion is better than every other."""
    texts = tuple(as_text(completion, where) for completion in completions)
    edges = tuple(Comparison(0, other) for other in range(1, len(texts)))
    return PreferenceGroup(as_text(prompt, where), texts, edges, group_id=where, metadata=metadata)


def labelled(where: str, prompt: Any, pair: tuple[Any, Any], winner: int | None, **metadata: Any) -> PreferenceGroup:
    """Build a pair in published order; `winner` is 0, 1 or None for a tie."""
    texts = tuple(as_text(text, where) for text in pair)
    edge = Comparison(0, 1, "tie") if winner is None else Comparison(winner, 1 - winner)
    return PreferenceGroup(as_text(prompt, where), texts, (edge,), group_id=where, metadata=metadata)


def by(scored: Sequence[ScoredGroup], key: str) -> dict[str, list[ScoredGroup]]:
    """Split by a metadata key."""
    parts: dict[str, list[ScoredGroup]] = {}
    for item in scored:
        parts.setdefault(str(item.group.metadata.get(key)), []).append(item)
    return parts


def pair_accuracy(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Strict accuracy: a tie in reward is wrong; judged ties do not count."""
    rows = [(float(m > 0), c) for item, c in zip(scored, prompt_clusters(scored), strict=True) for m in margins(item)]
    return bootstrap_mean([r[0] for r in rows], [r[1] for r in rows], how.resamples, how.seed)


def strict_best(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Share of groups whose first completion beats every other strictly."""
    hits = [float(all(item.rewards[0] > other for other in item.rewards[1:])) for item in scored]
    return bootstrap_mean(hits, prompt_clusters(scored), how.resamples, how.seed)


def shared_credit_best(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Mean best-of-K hit; ties at the top share the credit."""
    return bootstrap_mean([best_of_k(item) for item in scored], prompt_clusters(scored), how.resamples, how.seed)


def mean_of(parts: Mapping[str, Estimate]) -> Estimate:
    """Unweighted mean of parts that are defined, without an interval; NaN when a part has no rows."""
    values = [part.value for part in parts.values()]
    return Estimate(float(np.mean(values)) if values else math.nan, sum(part.n for part in parts.values()))
