"""What a benchmark gives, and the pieces that several benchmarks' files share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.words import show_interval
from rewardsmith.evaluation.baselines import RULES, Rule
from rewardsmith.evaluation.benchmarks.rows import Row, rows_of
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import best_of_k, margins, prompt_clusters
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text
from rewardsmith.stats.intervals import Resampling, clustered_share

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "rewardsmith.benchmark"
SCHEMA_VERSION = 1
Summary = Callable[[Sequence[ScoredGroup], Resampling], tuple[Estimate, dict[str, Estimate]]]


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
        """Give plain values for JSON."""
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
        """Give the parts and the headline as a table for the terminal."""
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
        """Give the rows of a local file or folder in the published layout, or of a hub id, each with where it stands.

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


def strict_best(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Share of groups whose first completion beats every other strictly."""
    hits = [float(all(item.rewards[0] > other for other in item.rewards[1:])) for item in scored]
    return clustered_share(hits, prompt_clusters(scored))


def shared_credit_best(scored: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Mean best-of-K hit; ties at the top share the credit."""
    return clustered_share([best_of_k(item) for item in scored], prompt_clusters(scored))


def verdicts(item: ScoredGroup) -> tuple[int, int]:
    """Give people's and the rewards' verdict on a pair: 1 the first answer, -1 the second, 0 a tie or equal rewards."""
    comparison = item.group.comparisons[0]
    people = 0 if comparison.is_tie else 1 if comparison.better == 0 else -1
    margin = item.rewards[0] - item.rewards[1]
    return people, (margin > 0) - (margin < 0)


def three_way_accuracy(scored: Sequence[ScoredGroup], people: Sequence[int], how: Resampling) -> Estimate:
    """Give how often the rewards give people's verdict, one of three, on a pair."""
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
