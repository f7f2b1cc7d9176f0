"""Two scorers on the same rows: paired intervals and tests, Holm across subsets, and the rows that flipped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.words import show_interval
from rewardsmith.data import load_preferences
from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import (
    ScoredGroup,
    prompt_clusters,
    score_groups,
    score_what_can_be,
    side_texts,
    stratum,
)
from rewardsmith.evaluation.scorers import may_merge
from rewardsmith.evaluation.sections import comparison_section
from rewardsmith.records import Estimate, Scorer, preferences
from rewardsmith.stats.intervals import Resampling, bootstrap_test
from rewardsmith.stats.significance import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SCHEMA = "rewardsmith.comparison"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PairedRow:
    """One judgement under both scorers: where it stands, the two margins, and the texts."""

    group: int
    cluster: int
    subset: str
    margin_a: float
    margin_b: float
    prompt: str
    better: str
    worse: str

    @property
    def has_flipped(self) -> bool:
        """Whether exactly one of the two is strictly right."""
        return (self.margin_a > 0) != (self.margin_b > 0)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A against B on one subset.

    Args:
        accuracy_a: tie-aware accuracy of A; `accuracy_b` of B.
        difference: A minus B with a paired, clustered interval.
        only_a: judgements that only A gets strictly right; `only_b` only B.
        p_value: two-sided, of no difference. Where each prompt has one judgement it is McNemar's exact test, else the
            level at which the interval of `difference` reaches 0 (`stats.intervals.bootstrap_test`), as judgements of
            one prompt are not independent.
        p_holm: corrected over the subsets.
    """

    accuracy_a: float
    accuracy_b: float
    difference: Estimate
    only_a: int
    only_b: int
    p_value: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The result of `compare`: tests overall and by subset, every row, and the number of those left out by reason."""

    name_a: str
    name_b: str
    overall: PairedTest
    subsets: dict[str, PairedTest]
    rows: Sequence[PairedRow]
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def unit_a(self) -> float:
        """Standard deviation of the margins of A, the unit in which two scorers' margins can be held together."""
        return float(np.std([row.margin_a for row in self.rows])) or 1.0

    @property
    def unit_b(self) -> float:
        """The same of B."""
        return float(np.std([row.margin_b for row in self.rows])) or 1.0

    def flipped(self) -> list[PairedRow]:
        """Return the rows that exactly one of the two gets right, in order."""
        return [row for row in self.rows if row.has_flipped]

    def largest_disagreements(self, count: int = 10) -> list[PairedRow]:
        """Return rows that flipped, then others, each by how far the margins lie apart in their scorers' units."""
        unit_a, unit_b = self.unit_a, self.unit_b
        gap = [abs(row.margin_a / unit_a - row.margin_b / unit_b) for row in self.rows]
        order = sorted(range(len(gap)), key=lambda index: (not self.rows[index].has_flipped, -gap[index]))
        return [self.rows[index] for index in order[:count]]

    def shown_disagreements(self, count: int) -> str:
        """Return the number of flips and the largest disagreements for the terminal, flips first."""
        lines = [
            f"{len(self.flipped())} of {len(self.rows)} judgements flipped; the largest disagreements, flips first",
            "(margins are reward differences in each scorer's own unit, and in its standard deviations)",
        ]
        for row in self.largest_disagreements(count):
            sides = (("A", row.margin_a, self.unit_a), ("B", row.margin_b, self.unit_b))
            shown = ", ".join(f"{name} {margin:+.3f} ({margin / unit:+.2f} sd)" for name, margin, unit in sides)
            lines.append(f"\ngroup {row.group}: {'flipped' if row.has_flipped else 'same side'}, margin {shown}")
            texts = (("prompt", row.prompt), ("better", row.better), ("worse", row.worse))
            lines += [f"  {label}: {' '.join(text.split())[:200]}" for label, text in texts]
        return "\n".join(lines)

    def to_dict(self, count: int = 10) -> dict[str, Any]:
        """Return plain values for JSON, with `count` of the largest disagreements."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "a": self.name_a,
            "b": self.name_b,
            "overall": _plain(self.overall),
            "dropped": self.dropped,
            "subsets": {name: _plain(test) for name, test in self.subsets.items()},
            "flipped": [asdict(row) for row in self.flipped()],
            "margin_units": {"a": self.unit_a, "b": self.unit_b},
            "largest_disagreements": [asdict(row) for row in self.largest_disagreements(count)],
        }

    def __repr__(self) -> str:
        found = f"accuracy of A minus B {self.overall.difference}, p {self.overall.p_value:.3g}"
        return f"<A = {self.name_a}, B = {self.name_b}: {found}>"

    def _repr_html_(self) -> str:
        section = comparison_section(self.to_dict())
        return render_blocks(section.blocks if section else ())

    def figures(self) -> dict[str, Figure]:
        """Return matplotlib figures: the paired difference, over all and by subset."""
        from rewardsmith.blocks.figures import figures_of

        return figures_of([comparison_section(self.to_dict())])

    def table(self) -> Table:
        """Return the tests as a table for the terminal."""
        from rich.markup import escape
        from rich.table import Table

        table = Table("subset", "A", "B", "A - B", "95% interval", "only A", "only B", "p", "Holm p")
        table.title = escape(f"A = {self.name_a}   B = {self.name_b}")
        for name, test in {"all": self.overall, **self.subsets}.items():
            d = test.difference
            counts = (str(test.only_a), str(test.only_b), f"{test.p_value:.4f}", f"{test.p_holm:.4f}")
            numbers = (f"{test.accuracy_a:.3f}", f"{test.accuracy_b:.3f}", f"{d.value:+.3f}")
            table.add_row(escape(name), *numbers, show_interval(d, signed=True), *counts)
        return table


def compare(
    name_a: str,
    scored_a: Sequence[ScoredGroup],
    name_b: str,
    scored_b: Sequence[ScoredGroup],
    how: Resampling | None = None,
) -> ModelComparison:
    """Compare two scorers on the same groups, in the same order.

    Raises:
        DataError: the groups are not the same, or no judgement prefers a side.
    """
    how = how or Resampling()
    rows = _pair_up(scored_a, scored_b)
    if not rows:
        raise DataError("no judgement prefers a side, so there is nothing to compare")
    by_subset: dict[str, list[PairedRow]] = {}
    for row in rows:
        by_subset.setdefault(row.subset, []).append(row)
    parts = dict(sorted(by_subset.items())) if len(by_subset) > 1 else {}
    tests = {name: _test(part, how) for name, part in parts.items()}
    corrected = holm([test.p_value for test in tests.values()])
    subsets = {name: replace(test, p_holm=p) for (name, test), p in zip(tests.items(), corrected, strict=True)}
    return ModelComparison(name_a, name_b, _test(rows, how), subsets, rows)


def compare_scorers(
    scorers: tuple[Scorer, Scorer],
    data: object,
    load_options: Mapping[str, Any],
    names: tuple[str, str] | None = None,
    how: Resampling | None = None,
) -> ModelComparison:
    """Compare two scorers on preference data.

    Args:
        load_options: passed to `load_preferences`. With on_error="count", groups that either scorer cannot score are
            left out for both and counted.
        names: what the scorers are called in the result, where not by their own names.

    Raises:
        DataError: no judgement prefers a side.
        ScoringError: a completion has no finite reward.
    """
    loaded = load_preferences(data, **{"merge_prompts": may_merge(*scorers), **load_options})
    dropped = Counter(loaded.report.dropped)
    groups = list(loaded)
    if load_options.get("on_error") == "count":
        first, lost_a, _ = score_what_can_be(scorers[0], groups)
        second, lost_b, _ = score_what_can_be(scorers[1], [item.group for item in first])
        kept = {id(item.group) for item in second}
        first = [item for item in first if id(item.group) in kept]
        dropped.update(lost_a)
        dropped.update(lost_b)
    else:
        first, second = (score_groups(scorer, groups) for scorer in scorers)
    name_a, name_b = names or (scorers[0].name, scorers[1].name)
    return replace(compare(name_a, first, name_b, second, how), dropped=dict(dropped))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p value of McNemar's test.

    Example:
        >>> round(mcnemar(1, 5), 5)
        0.21875
    """
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _pair_up(scored_a: Sequence[ScoredGroup], scored_b: Sequence[ScoredGroup]) -> list[PairedRow]:
    if len(scored_a) != len(scored_b):
        raise DataError(f"A scored {len(scored_a)} groups and B {len(scored_b)}; score the same data with both")
    rows = []
    for index, (a, b, cluster) in enumerate(zip(scored_a, scored_b, prompt_clusters(scored_a), strict=True)):
        if a.group is not b.group and a.group.completions != b.group.completions:
            raise DataError(f"group {index} differs between A and B; score the same data with both")
        subset = stratum(a.group, "subset") or a.group.source or "all"
        for judgement in preferences(a.group):
            sides = (judgement.better, judgement.worse)
            margin = [item.rewards[sides[0]] - item.rewards[sides[1]] for item in (a, b)]
            rows.append(PairedRow(index, cluster, subset, margin[0], margin[1], *side_texts(a.group, *sides)))
    return rows


def _counts(rows: Sequence[PairedRow]) -> tuple[int, int]:
    flipped = [row for row in rows if row.has_flipped]
    only_a = sum(row.margin_a > 0 for row in flipped)
    return only_a, len(flipped) - only_a


def _test(rows: Sequence[PairedRow], how: Resampling) -> PairedTest:
    credit = (np.sign(np.array([(row.margin_a, row.margin_b) for row in rows])) + 1) / 2
    clusters = [row.cluster for row in rows]
    gaps = credit[:, 0] - credit[:, 1]
    difference, p_value = bootstrap_test(gaps, clusters, how)
    only_a, only_b = _counts(rows)
    if len(set(clusters)) == len(clusters):
        p_value = mcnemar(only_a, only_b)
    elif math.isnan(p_value):
        # Every prompt says the same, so prompts are counted.
        p_value = mcnemar(*(len(set(clusters)) if sign * difference.value > 0 else 0 for sign in (1, -1)))
    means = credit.mean(axis=0)
    return PairedTest(float(means[0]), float(means[1]), difference, only_a, only_b, p_value, p_value)


def _plain(test: PairedTest) -> dict[str, Any]:
    return {**asdict(test), "difference": test.difference.to_dict()}
