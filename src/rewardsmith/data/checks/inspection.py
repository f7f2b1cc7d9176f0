"""Look at preference data as a whole: size, ties, lengths, bias, duplicates, contradictions, agreement.

One pass; texts are hashed as they go by (see agreement.py for what is held).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rewardsmith.data.checks.agreement import (
    Agreement,
    Edges,
    JudgementTable,
    Nodes,
    RowNames,
    join_keys,
    measure_agreement,
)
from rewardsmith.data.checks.contradictions import (
    Contradictions,
    Cycles,
    Duplicates,
    SharedPrompts,
    Tell,
    find_contradictions,
    find_cycles,
    find_duplicates,
)
from rewardsmith.data.checks.faults import (
    EMPTY,
    IDENTICAL,
    LEAKS,
    NO_PROMPT,
    TEXT_FAULTS,
    TURN_FAULTS,
    RowTally,
)
from rewardsmith.data.checks.lengths import (
    Distribution,
    LengthBias,
    Measure,
    Saving,
    WordMeasure,
    length_bias,
    measure_saving,
)
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.records import Estimate, PreferenceGroup, judgements
from rewardsmith.stats.intervals import clustered_share


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source of labels: how many comparisons, how many ties, and whether the longer wins there."""

    name: str
    comparisons: int
    ties: int
    longer_wins: Estimate


@dataclass(slots=True)
class Tally:
    """What is counted while groups pass.

    Args:
        rows: groups that were read.
        answers, empty: completions that were read, and those without text.
        soft, unweighted: comparisons with a soft label, and with weight 0 (they enter nothing else).
        logical: both sequences of every comparison, in the unit of the saving.
        wins, games: per author of completions: preferences won, and comparisons it stands in.
        chosen, rejected: sum of lengths of the preferred and of the other completions.
        ratings: attribute to the number of completions that carry it.
    """

    rows: int = 0
    answers: int = 0
    empty: int = 0
    soft: int = 0
    unweighted: int = 0
    logical: int = 0
    wins: Counter[str] = field(default_factory=Counter)
    games: Counter[str] = field(default_factory=Counter)
    chosen: int = 0
    rejected: int = 0
    ratings: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that `inspect` knows of a data set. Rows are numbers that `rows.decode` names.

    Args:
        prompts: distinct prompts; rows with an empty prompt count each.
        repeated_prompts: prompts that stand in several rows.
        completions: distinct completions of a prompt, summed over prompts.
        sizes: completions per prompt to the number of prompts.
        unit: what lengths count, "words" or "tokens".
        checks: rows by fault, see `faults`.
        first_wins: share of preferences for the completion that stands first in its row.
        several_files: prompts that stand in several files, `several_splits` in several splits (train and test).
        tells: words that give the preferred side away.
    """

    tally: Tally
    rows: RowNames
    prompts: int
    repeated_prompts: int
    completions: int
    comparisons: int
    ties: int
    identical: int
    sizes: dict[int, int]
    unit: str
    prompt_lengths: Distribution
    completion_lengths: Distribution
    bias: LengthBias
    sources: list[SourceLine]
    annotators: dict[str, int]
    unnamed: int
    duplicates: Duplicates
    contradictions: Contradictions
    cycles: Cycles
    agreement: Agreement
    saving: Saving
    checks: RowTally
    first_wins: Estimate
    several_files: SharedPrompts
    several_splits: SharedPrompts
    tells: list[Tell]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON; rows are named, NaN is null."""
        name = self.rows.decode
        cycles = [[name(row) for row in rows] for rows in self.cycles.examples]
        both = [[name(row) for row in rows] for rows in self.contradictions.examples]
        again = [[name(int(a)), name(int(b))] for a, b in zip(self.duplicates.first, self.duplicates.rows)][:5]  # noqa: B905
        return {
            "rows": self.tally.rows,
            "prompts": self.prompts,
            "prompts_in_several_rows": self.repeated_prompts,
            "rows_without_prompt": self.checks.counts[NO_PROMPT],
            "completions": self.completions,
            "comparisons": self.comparisons,
            "ties": self.ties,
            "soft_labels": self.tally.soft,
            "weight_zero": self.tally.unweighted,
            "completions_per_prompt": {str(size): count for size, count in self.sizes.items()},
            "identical_sides": {"count": self.identical, "rows": self.checks.named(IDENTICAL, name)["rows"]},
            "rows_with_empty_completions": self.checks.named(EMPTY, name),
            "conversation_faults": {f: self.checks.named(f, name) for f in TURN_FAULTS if self.checks.counts[f]},
            "text_faults": {f: self.checks.named(f, name) for f in TEXT_FAULTS if self.checks.counts[f]},
            "leaks": self._leaks(),
            "lengths": {
                "unit": self.unit,
                "prompt": self.prompt_lengths.to_dict(),
                "completion": self.completion_lengths.to_dict(),
                **dict(zip(("chosen_mean", "rejected_mean"), map(_finite, self.side_means()), strict=True)),
            },
            "longer_wins": {**self.bias.longer_wins.to_dict(), "equal_length": self.bias.equal},
            "first_wins": self.first_wins.to_dict(),
            "sources": [
                {"name": s.name, "comparisons": s.comparisons, "ties": s.ties, "longer_wins": s.longer_wins.to_dict()}
                for s in self.sources
            ],
            "annotators": self.annotators,
            "comparisons_without_annotator": self.unnamed,
            "models": {m: {"comparisons": n, "wins": self.tally.wins[m]} for m, n in self.tally.games.most_common()},
            "ratings": dict(self.tally.ratings),
            "duplicates": {"count": self.duplicates.count, "examples": again},
            "contradictions": {
                "pairs": self.contradictions.pairs,
                "prompts": self.contradictions.prompts,
                "pairs_by_one_annotator": self.contradictions.by_one,
                "examples": both,
            },
            "cycles": {"prompts": self.cycles.prompts, "comparisons": self.cycles.comparisons, "examples": cycles},
            "agreement": self.agreement.to_dict(),
            "prompt_sharing": self.saving.to_dict(),
        }

    def _leaks(self) -> dict[str, Any]:
        name, several = self.rows.decode, self.several_splits
        return {
            "prompts_in_several_files": self.several_files.count,
            "prompts_in_several_splits": {
                "count": several.count,
                "examples": [[name(a), name(b)] for a, b in several.examples],
            },
            **{fault: self.checks.named(fault, name) for fault in LEAKS},
            "telling_words": [
                {"place": t.place, "word": t.mark, "preferences": t.count, "preferred": t.preferred} for t in self.tells
            ],
        }

    def side_means(self) -> tuple[float, float]:
        """Return the mean length of the preferred and of the other completions, over preferences."""
        strict = self.comparisons - self.ties
        return (self.tally.chosen / strict, self.tally.rejected / strict) if strict else (math.nan, math.nan)


def inspect_groups(
    items: Iterable[tuple[str, PreferenceGroup]], measure: Measure | None = None, checks: RowTally | None = None
) -> Inspection:
    """Look through (where, group) once; see `texts.locate`.

    Args:
        measure: how lengths are counted; None counts words.
        checks: where to count faults; its `split` says on which side the next row stands.
    """
    measure = WordMeasure() if measure is None else measure
    checks = RowTally() if checks is None else checks
    table, tally = JudgementTable(), Tally()
    for where, group in items:
        lengths = measure.measure(group)
        measure.see(table.add(where, group, lengths)[1])
        checks.add(table.rows.encode(where), where, group)
        _count(tally, group, lengths.completions, lengths.totals)
    edges, nodes = table.edges(), table.nodes()
    _, prompt_lengths, shared, graph = table.prompts()
    first, repeats = np.unique(graph, return_index=True, return_counts=True)[1:]
    distinct = _distinct_nodes(nodes)
    per_prompt = np.unique(nodes.graph[distinct], return_counts=True)[1]
    sizes = dict(zip(*(v.tolist() for v in np.unique(per_prompt, return_counts=True)), strict=True))
    return Inspection(
        tally=tally,
        rows=table.rows,
        prompts=len(first),
        repeated_prompts=int((repeats > 1).sum()),
        completions=len(distinct),
        comparisons=len(edges),
        ties=int(edges.tie.sum()),
        identical=int(edges.identical.sum()),
        sizes=sizes,
        unit=measure.unit,
        prompt_lengths=Distribution.of(prompt_lengths[first]),
        completion_lengths=Distribution.of(nodes.length[distinct]),
        bias=length_bias(edges),
        sources=_source_lines(edges, table),
        annotators=_annotator_counts(edges, table),
        unnamed=int((edges.annotator == 0).sum()),
        duplicates=find_duplicates(edges),
        contradictions=find_contradictions(edges),
        cycles=find_cycles(edges),
        agreement=measure_agreement(edges),
        saving=measure_saving(nodes, tally.logical, (graph, shared), measure),
        checks=checks,
        first_wins=clustered_share(edges.first[~edges.tie], edges.prompt[~edges.tie]),
        several_files=checks.places.in_several_files(),
        several_splits=checks.places.in_several_splits(),
        tells=checks.tells.find(),
    )


def _count(tally: Tally, group: PreferenceGroup, lengths: list[int], totals: list[int]) -> None:
    """Count one group."""
    tally.rows += 1
    tally.answers += len(group)
    tally.empty += sum(not plain_text(completion).strip() for completion in group.completions)
    for name, scores in group.ratings.items():
        tally.ratings[name] += sum(score is not None for score in scores)
    # What follows reads `judgements`, which leaves these out.
    tally.unweighted += sum(not comparison.weight for comparison in group.comparisons)
    for judgement in judgements(group):
        better, worse = judgement.better, judgement.worse
        tally.soft += judgement.is_soft
        tally.logical += totals[better] + totals[worse]
        if not judgement.is_tie:
            tally.chosen += lengths[better]
            tally.rejected += lengths[worse]
        if group.models:
            _count_models(tally, (group.models[better], group.models[worse]), not judgement.is_tie)


def _count_models(tally: Tally, models: tuple[str | None, str | None], strict: bool) -> None:
    """Count a comparison for the authors of its two completions."""
    for model in models:
        if model is not None:
            tally.games[model] += 1
    if strict and models[0] is not None:
        tally.wins[models[0]] += 1


def _distinct_nodes(nodes: Nodes) -> np.ndarray:
    """Return the places where each completion of a graph stands first."""
    return np.unique(join_keys(nodes.graph, nodes.completion), return_index=True)[1]


def _source_lines(edges: Edges, table: JudgementTable) -> list[SourceLine]:
    """Describe each source, the largest first."""
    lines = []
    places, counts = np.unique(edges.source, return_counts=True)
    for place, count in sorted(zip(places.tolist(), counts.tolist(), strict=True), key=lambda item: -item[1])[:200]:
        where = edges.source == place
        name = table.sources.names[place] or "(not named)"
        lines.append(SourceLine(name, count, int(edges.tie[where].sum()), length_bias(edges, where).longer_wins))
    return lines


def _annotator_counts(edges: Edges, table: JudgementTable) -> dict[str, int]:
    """Count the comparisons of each named annotator, the busiest first."""
    counts = np.bincount(edges.annotator, minlength=len(table.annotators.names))
    names = table.annotators.names
    return {
        # Place 0 stands for those whom the rows do not name.
        str(names[place]): int(counts[place])
        for place in np.argsort(-counts, kind="stable")
        if place and counts[place]
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
