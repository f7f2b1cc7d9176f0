"""What a benchmark is and gives: its rows as its authors published them, its groups, and the rules several share.

Rows come from one file, a folder, or a hub data set. Every row also knows the file (or hub configuration) that it came
from, as some sets say their subset only there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.words import show_interval
from rewardsmith.data.detecting import read_rows
from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import ScoredGroup, best_of_k, margins, prompt_clusters
from rewardsmith.evaluation.verdict import RULES, Rule
from rewardsmith.files.reading import data_files, read_json_lines
from rewardsmith.files.tables import split_revision
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text
from rewardsmith.stats.intervals import Resampling, clustered_share

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "rewardsmith.benchmark"
SCHEMA_VERSION = 1
Summary = Callable[[Sequence[ScoredGroup], Resampling], tuple[Estimate, dict[str, Estimate]]]
Row = tuple[str, Mapping[str, Any]]
# Under these names a row holds its file, relative to the folder, and its key in a JSON object of lists.
FILE, KEY = "_file", "_key"


def rows_of(source: str | Path, split: str, patterns: Sequence[str] = (), beside: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a file, of the files of a folder that belong to the benchmark, or of a hub data set.

    Args:
        split: of the hub; in a folder, files with this word in their name are taken and no others, when there are any.
            Several are joined by "+".
        patterns: regular expressions of paths inside the folder; the files that match the first which any file
            matches are the benchmark's, the others are not.
        beside: regular expressions of files that are read, too, when their folder has no file of the split.
    """
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        yield from read_rows(path, split=split if (path / "dataset_dict.json").exists() else None)
    elif path.is_dir():
        for file in choose_files(path, split, patterns, beside):
            name = file.relative_to(path).as_posix()
            for where, row in _file_rows(file):
                yield f"{name}:{where.rsplit(':', 1)[-1]}", {**row, FILE: name}
    elif path.is_file():
        for where, row in _file_rows(path):
            yield where, {**row, FILE: path.name}
    else:
        yield from _hub_rows(str(source), split)


def choose_files(folder: Path, split: str, patterns: Sequence[str] = (), beside: Sequence[str] = ()) -> list[Path]:
    """Choose the files of a folder that hold the benchmark; a download holds other splits and results, too.

    Raises:
        DataError: no file of a known kind.
    """
    files = data_files(folder)
    if not files:
        raise DataError(f"{folder}: holds no .json, .jsonl or .parquet file; give the folder as it was published")
    pool = next((found for pattern in patterns if (found := _matching(folder, files, pattern))), files)
    words = set(split.lower().split("+"))
    chosen = [file for file in pool if words & set(re.split(r"[^a-z0-9]+", file.stem.lower()))] or pool
    folders = {file.parent for file in chosen}
    extra = [file for pattern in beside for file in _matching(folder, files, pattern) if file.parent not in folders]
    return chosen + extra


def _matching(folder: Path, files: Sequence[Path], pattern: str) -> list[Path]:
    return [file for file in files if re.search(pattern, file.relative_to(folder).as_posix())]


def subset_of(row: Mapping[str, Any]) -> str | None:
    """Return the folder (or hub configuration) of a row's file; None where that says nothing."""
    folder = PurePosixPath(str(row.get(FILE, ""))).parent.as_posix()
    return None if folder in ("", ".", "data") else folder.removesuffix("/data")


def need(where: str, row: Mapping[str, Any], *names: str) -> Any:
    """Return the first of `names` that the row has. Raises DataError."""
    for name in names:
        if row.get(name) is not None:
            return row[name]
    found = sorted(str(name) for name in row if name not in (FILE, KEY))
    raise DataError(f"{where}: needs {' or '.join(map(repr, names))}; found {found}")


def _file_rows(path: Path) -> Iterator[Row]:
    return _json_rows(path) if path.suffix == ".json" else read_rows(path)


def _json_rows(path: Path) -> Iterator[Row]:
    """Read a list, an object with `examples`, or an object of lists (each row then knows its key), or JSON Lines."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        lines = _json_lines(path)
        if lines is None:
            raise DataError(f"{path}: not JSON ({error}); use .jsonl for one object a line") from error
        content = lines
    if isinstance(content, dict) and isinstance(content.get("examples"), list):
        content = content["examples"]
    parts = content.items() if isinstance(content, dict) else [(None, content)]
    for key, rows in parts:
        if not isinstance(rows, list):
            raise DataError(f"{path}: {key!r} holds no list of rows")
        for index, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                raise DataError(f"{path.name}:row {index}: a row must be an object, not {type(row).__name__}")
            yield f"{path.name}:row {index}", row if key is None else {**row, KEY: key}


def _json_lines(path: Path) -> list[Any] | None:
    """Read a file that is named .json but holds one object a line; None when it does not."""
    try:
        return read_json_lines(path)
    except ValueError:
        return None


def _hub_rows(name: str, split: str) -> Iterator[Row]:
    """Read all configurations of a hub data set."""
    place, revision = split_revision(name)
    if place.count("/") != 1 or place.startswith((".", "/", "~")):
        raise DataError(f"{name}: no such file or folder, and not a hub id like 'owner/name'")
    from datasets import get_dataset_config_names, load_dataset

    try:
        configs = get_dataset_config_names(place, revision=revision)
        parts = [(config, load_dataset(place, config, split=split, revision=revision)) for config in configs]
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this data set cannot be had.
        raise DataError(f"{name}: the hub cannot give it: {' '.join(str(error).split())[:200]}") from error
    for config, rows in parts:
        file = f"{config}/{split}" if len(parts) > 1 else split
        for index, row in enumerate(rows):
            yield f"{name}:{config}:row {index}", {**row, FILE: file}


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One benchmark's headline by its authors' rule, with its parts. Averages of parts carry no interval.

    `baselines` are rules that read no meaning, scored by the same rule on the same rows. `left_out` counts by reason
    what could not be scored.
    """

    benchmark: str
    scorer: str
    score: Estimate
    parts: dict[str, Estimate]
    scored: Sequence[ScoredGroup]
    baselines: dict[str, Estimate] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "benchmark": self.benchmark,
            "scorer": self.scorer,
            "score": self.score.to_dict(),
            "parts": {name: part.to_dict() for name, part in self.parts.items()},
            "left_out": dict(self.left_out),
            "score_of_baselines": {name: value.to_dict() for name, value in self.baselines.items()},
        }

    def table(self) -> Table:
        """Return the parts and the headline as a table for the terminal."""
        from rich.table import Table

        table = Table("part", "value", "95% interval", "n", title=f"{self.benchmark}: {self.scorer}")
        _add(table, self.parts)
        table.add_section()
        _add(table, {"score": self.score})
        _add(table, {f"score of baseline: {name}": value for name, value in self.baselines.items()})
        return table


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How a benchmark is read and scored.

    Args:
        read: row to groups, given where the row stands.
        summarise: scored groups to headline and parts.
        split: of the hub data set; several are joined by "+".
        patterns, beside: which files of a published folder are read, see `rows_of`.
        rules: the baselines that make sense here.
        join: gives the rows of a layout that spreads a row over several files; None from it means another layout.
        score_own: scores in the benchmark's own way; None from it means that this scorer is asked as usual.
    """

    read: Callable[[str, Mapping[str, Any]], Iterator[PreferenceGroup]]
    summarise: Summary
    split: str = "test"
    patterns: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    join: Callable[[Path], Iterator[Row] | None] | None = None
    score_own: Callable[[Any, Sequence[PreferenceGroup]], list[ScoredGroup] | None] | None = None

    def rows(self, source: str | Path, split: str | None = None) -> Iterator[Row]:
        """Return the rows of a local file or folder in the published layout, or of a hub id, each with where it stands.

        Args:
            split: of the hub data set or folder; None takes the authors'.
        """
        joined = self.join(Path(source)) if self.join else None
        return joined or rows_of(source, split or self.split, self.patterns, self.beside)


def best_first(where: str, prompt: object, completions: Sequence[Any], **metadata: Any) -> PreferenceGroup:
    """Build a group whose first completion is better than every other."""
    texts = tuple(as_text(completion, where) for completion in completions)
    edges = tuple(Comparison(0, other) for other in range(1, len(texts)))
    return PreferenceGroup(as_text(prompt, where), texts, edges, group_id=where, metadata=metadata)


def labelled(where: str, prompt: object, pair: tuple[Any, Any], winner: int | None, **metadata: Any) -> PreferenceGroup:
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
    return clustered_share([r[0] for r in rows], [r[1] for r in rows])


def accuracy_by(scored: Sequence[ScoredGroup], key: str, how: Resampling) -> dict[str, Estimate]:
    """Return the strict accuracy of each value of a metadata key, in order."""
    return {name: pair_accuracy(items, how) for name, items in sorted(by(scored, key).items())}


def strict_best(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Share of groups whose first completion beats every other strictly."""
    hits = [float(all(item.rewards[0] > other for other in item.rewards[1:])) for item in scored]
    return clustered_share(hits, prompt_clusters(scored))


def shared_credit_best(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Mean best-of-K hit; ties at the top share the credit."""
    return clustered_share([best_of_k(item) for item in scored], prompt_clusters(scored))


def verdicts(item: ScoredGroup) -> tuple[int, int]:
    """Return people's and the rewards' verdict on a pair: 1 the first answer, -1 the second, 0 neither."""
    comparison = item.group.comparisons[0]
    people = 0 if comparison.is_tie else 1 if comparison.better == 0 else -1
    margin = item.rewards[0] - item.rewards[1]
    return people, (margin > 0) - (margin < 0)


def three_way_accuracy(scored: Sequence[ScoredGroup], people: Sequence[int], how: Resampling) -> Estimate:
    """Return how often the rewards give people's verdict, one of three, on a pair."""
    same = [float(verdicts(item)[1] == verdict) for item, verdict in zip(scored, people, strict=True)]
    return clustered_share(same, prompt_clusters(scored))


def mean_of(parts: Mapping[str, Estimate]) -> Estimate:
    """Unweighted mean of parts that are defined, without an interval; NaN when a part has no rows."""
    values = [part.value for part in parts.values()]
    return Estimate(float(np.mean(values)) if values else math.nan, sum(part.n for part in parts.values()))


def first(group: PreferenceGroup) -> list[float]:
    """Prefer what stands first in the published order: a rule that must be at chance, or the set is not balanced."""
    return [-float(index) for index in range(len(group))]


# For sets whose order of the two answers says nothing about which is better.
IN_PUBLISHED_ORDER: dict[str, Rule] = {**RULES, "first": first}


def _add(table: Table, estimates: Mapping[str, Estimate]) -> None:
    for name, part in estimates.items():
        table.add_row(name, f"{part.value:.4f}", show_interval(part), str(part.n))
