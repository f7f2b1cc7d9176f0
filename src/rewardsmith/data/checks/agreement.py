"""Judgements as columns of numbers, how far raters agree, and how accurate a model can be against one rater's labels.

Millions of rows can be looked through without holding a text: a text becomes a 64-bit hash, a row its number. Held are
47 bytes a comparison, 29 a completion and 24 a row: a file of 10 million pairs takes 1.3 GB, whatever the length of its
texts. Two texts are taken for one with probability 2^-64."""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.merging import text_hash
from rewardsmith.data.texts import question_text
from rewardsmith.records import Estimate, Judgement, PreferenceGroup, TokenIds, graph_key, judgements, text_key
from rewardsmith.stats.agreement import LEVELS, Level, krippendorff_alpha
from rewardsmith.stats.calibration import pair_agreement, raters_ceiling, without_copies
from rewardsmith.stats.intervals import Floats, clustered_share

Keys = NDArray[np.uint64]
Ints = NDArray[np.int64]
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_ROW = re.compile(r"(.*):row (\d+)\Z", re.DOTALL)
_FILE_SHIFT = 40


def join_keys(*columns: Keys) -> Keys:
    """Return one key for each row of several columns of keys; order counts."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        # Mixed after every column, so that their order counts.
        total = total * _FACTOR + column
        total = (total ^ (total >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
        total ^= total >> np.uint64(29)
    return total


class RowNames:
    """Names like "pairs.jsonl:row 12" as integers and back: each file's name is held once."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.names: list[str] = []

    def encode(self, where: str) -> int:
        """Return the integer of a name."""
        match = _ROW.match(where)
        file, row = (match[1], int(match[2])) if match else (where, -1)
        place = self.files.setdefault(file, len(self.files))
        if place == len(self.names):
            self.names.append(file)
        # 0 is a name that holds no row.
        return place << _FILE_SHIFT | (row + 1)

    def decode(self, number: int) -> str:
        """Return the name of an integer."""
        file, row = self.names[number >> _FILE_SHIFT], (number & (1 << _FILE_SHIFT) - 1) - 1
        return file if row < 0 else f"{file}:row {row}"


class Names:
    """Names, such as sources and annotators, as small numbers. Number 0 is the unknown."""

    def __init__(self) -> None:
        self.names: list[str | None] = [None]
        self.places: dict[str | None, int] = {None: 0}

    def encode(self, name: str | None) -> int:
        """Return the number of a name."""
        place = self.places.setdefault(name, len(self.names))
        if place == len(self.names):
            self.names.append(name)
        return place


@dataclass(frozen=True, slots=True)
class Edges:
    """Comparisons as columns. Soft labels below 1/2 are turned; 1/2, ties and identical sides have no direction.

    Args:
        prompt: key of what was asked.
        better, worse: keys of the completions.
        tie: whether no side is preferred.
        longer: sign of the difference of lengths in characters, better minus worse.
        row, source, annotator: numbers of their names.
        probability: soft label of the preferred side (>= 1/2), NaN where the label is certain.
        first: whether the preferred completion stands before the other in its row.
    """

    prompt: Keys
    better: Keys
    worse: Keys
    tie: NDArray[np.bool_]
    longer: NDArray[np.int8]
    row: Ints
    source: NDArray[np.uint32]
    annotator: NDArray[np.uint32]
    probability: NDArray[np.float32]
    first: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def identical(self) -> NDArray[np.bool_]:
        """Which comparisons are between a text and itself."""
        same: NDArray[np.bool_] = self.better == self.worse
        return same

    @property
    def pair(self) -> Keys:
        """Return the key of prompt and both completions, whichever is preferred."""
        return join_keys(self.prompt, np.minimum(self.better, self.worse), np.maximum(self.better, self.worse))

    @property
    def direction(self) -> NDArray[np.int8]:
        """Return 1 where the completion of the lower key is preferred, -1 where the other is, 0 for ties."""
        return np.where(self.tie, 0, np.where(self.better < self.worse, 1, -1)).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Completions as columns, once for every row they stand in.

    Args:
        graph: key of the group they belong to after merging; rows with an empty prompt never merge.
        completion: key of the text.
        length: in the unit of the table (words or tokens), without the prompt.
        total: with the prompt, in tokens or characters.
        used: whether a comparison names it.
    """

    graph: Keys
    completion: Keys
    length: NDArray[np.uint32]
    total: NDArray[np.uint32]
    used: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a group is: the prompt, each completion, each completion with the prompt, and what all begin with."""

    prompt: int
    completions: list[int]
    totals: list[int]
    shared: int


class JudgementTable:
    """Columns that grow group by group."""

    def __init__(self) -> None:
        self.rows, self.sources, self.annotators = RowNames(), Names(), Names()
        # Machine numbers: as objects, millions of judgements would not fit into memory.
        self._edges: list[array[Any]] = [array(kind) for kind in "QQQbbqIIfb"]
        self._nodes: list[array[Any]] = [array(kind) for kind in "QQIIb"]
        self._prompts: list[array[Any]] = [array(kind) for kind in "QIIQ"]

    def add(self, where: str, group: PreferenceGroup, lengths: Lengths) -> tuple[int, int]:
        """Enter a group. Returns its prompt key and its graph key."""
        prompt = prompt_key(group)
        # A row without a prompt is a graph of its own.
        graph = prompt if has_prompt(group) else text_hash(f"row {len(self._prompts[0])}")
        keys = [text_hash(text_key(completion)) for completion in group.completions]
        used = {side for c in group.comparisons for side in (c.better, c.worse)}
        for place, key in enumerate(keys):
            values = (graph, key, lengths.completions[place], lengths.totals[place], place in used)
            for column, value in zip(self._nodes, values, strict=True):
                column.append(value)
        sizes = [_characters(completion) for completion in group.completions]
        row, source = self.rows.encode(where), self.sources.encode(group.source)
        for judgement in judgements(group):
            self._add_edge(judgement, keys, sizes, (prompt, row, source))
        for column, value in zip(self._prompts, (prompt, lengths.prompt, lengths.shared, graph), strict=True):
            column.append(value)
        return prompt, graph

    def _add_edge(
        self, judgement: Judgement, keys: list[int], sizes: list[int], of_group: tuple[int, int, int]
    ) -> None:
        prompt, row, source = of_group
        better, worse = judgement.better, judgement.worse
        longer = (sizes[better] > sizes[worse]) - (sizes[better] < sizes[worse])
        values = (
            *(prompt, keys[better], keys[worse], judgement.is_tie, longer, row, source),
            self.annotators.encode(judgement.comparison.annotator),
            judgement.probability if judgement.is_soft else math.nan,
            better < worse,
        )
        for column, value in zip(self._edges, values, strict=True):
            column.append(value)

    def edges(self) -> Edges:
        """Return the comparisons with a weight above 0 as columns."""
        kinds: list[type] = [np.uint64] * 3 + [np.bool_, np.int8, np.int64, np.uint32, np.uint32, np.float32, np.bool_]
        return Edges(*(np.frombuffer(c, dtype=kind) for c, kind in zip(self._edges, kinds, strict=True)))

    def nodes(self) -> Nodes:
        """Return the completions as columns."""
        kinds: list[type] = [np.uint64, np.uint64, np.uint32, np.uint32, np.bool_]
        return Nodes(*(np.frombuffer(c, dtype=kind) for c, kind in zip(self._nodes, kinds, strict=True)))

    def prompts(self) -> tuple[Keys, NDArray[np.uint32], NDArray[np.uint32], Keys]:
        """Return prompt key, length of the prompt, length of what all begin with, and graph key of every row."""
        kinds: list[type] = [np.uint64, np.uint32, np.uint32, np.uint64]
        columns: list[Any] = [np.frombuffer(c, dtype=kind) for c, kind in zip(self._prompts, kinds, strict=True)]
        return columns[0], columns[1], columns[2], columns[3]


def has_prompt(group: PreferenceGroup) -> bool:
    """Whether the prompt is known apart, so that groups which share it merge."""
    return bool(group.prompt)


def prompt_key(group: PreferenceGroup) -> int:
    """Return the key of what was asked: prompt, tools and template arguments, or what whole dialogues begin with."""
    if has_prompt(group):
        return text_hash("\x00".join(graph_key(group)))
    return text_hash("\x01" + question_text(group))


def _characters(completion: object) -> int:
    """Return the length in characters; of token ids their number."""
    return len(completion) if isinstance(completion, TokenIds) else len(plain_text(completion))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the raters of one data set agree.

    Args:
        units: pairs with two or more judgements.
        judgements: their number on these pairs.
        raters: named annotators among them; 0 when none is named.
        alpha: Krippendorff's alpha at each level over first / tie / second.
        agreement: chance that two judgements of one pair, neither a tie, agree; n counts pairs.
        ceiling: of accuracy, from `agreement`, see `stats.calibration.raters_ceiling`.
        soft_ceiling: mean share of the majority over soft labels; how many votes they hold is not known.
    """

    units: int
    judgements: int
    raters: int
    alpha: dict[Level, Estimate]
    agreement: Estimate
    ceiling: Estimate
    soft_ceiling: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        return {
            "pairs_with_several_judgements": self.units,
            "judgements": self.judgements,
            "annotators": self.raters,
            "alpha": {level: value.to_dict() for level, value in self.alpha.items()},
            "agreement": self.agreement.to_dict(),
            "ceiling_from_agreement": self.ceiling.to_dict(),
            "ceiling_from_soft_labels": self.soft_ceiling.to_dict(),
        }


def measure_agreement(edges: Edges, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Measure agreement over pairs that several judgements compare.

    One named annotator counts once a pair (the first judgement); judgements that name none count each. A soft label
    enters its own ceiling only, since how many votes it holds is not known.
    """
    hard = np.flatnonzero(np.isnan(edges.probability) & ~edges.identical)
    pair, rater = edges.pair[hard], edges.annotator[hard]
    again = join_keys(pair, rater.astype(np.uint64))
    first = np.zeros(len(hard), dtype=bool)
    first[np.unique(again, return_index=True)[1]] = True
    hard = hard[first | (rater == 0)]
    names, inverse = np.unique(edges.pair[hard], return_inverse=True)
    counts = np.stack(
        [np.bincount(inverse, edges.direction[hard] == value, minlength=len(names)) for value in (-1, 0, 1)], axis=1
    )
    several = counts.sum(axis=1) >= 2
    raters = np.unique(edges.annotator[hard[several[inverse]]])
    alpha = {level: krippendorff_alpha(counts, (-1, 0, 1), level, resamples, seed) for level in LEVELS}
    prompts = np.zeros(len(names), dtype=np.uint64)
    prompts[inverse] = edges.prompt[hard]
    named = np.bincount(inverse, edges.annotator[hard] > 0, minlength=len(names)) > 0
    agreement = pair_agreement(_votes(counts[several], named[several]), prompts[several])
    soft = np.flatnonzero(~np.isnan(edges.probability) & ~edges.tie)
    return Agreement(
        int(several.sum()),
        int(counts[several].sum()),
        int((raters > 0).sum()),
        alpha,
        agreement,
        raters_ceiling(agreement),
        clustered_share(edges.probability[soft], edges.prompt[soft]),
    )


def _votes(counts: NDArray[np.int64], named: NDArray[np.bool_]) -> Floats:
    """Return the votes for either side of each pair; see `without_copies`."""
    return without_copies(counts[:, [0, 2]].astype(np.float64), named)
