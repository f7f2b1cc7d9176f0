"""How long prompts and completions are, whether the longer wins, and what sharing prompts saves."""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.agreement import Edges, Keys, Lengths, Nodes, has_prompt, join_keys
from rewardsmith.data.formats.cells import content_text, plain_text
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import clustered_share

BINS = 12
# Longest answers of one length are no chance from so many on, so long.
FEWEST_CUT, SHARE_CUT = 10, 0.02
LEAST_CUT = {"characters": 200, "words": 40, "tokens": 48}


class Measure(Protocol):
    """Measures a group. `unit` names what lengths count, `shared_unit` what the saving counts."""

    unit: str
    shared_unit: str
    is_exact: bool

    def measure(self, group: PreferenceGroup) -> Lengths: ...
    def shared_prefixes(self) -> dict[int, int]: ...
    def see(self, graph: int) -> None: ...


class WordMeasure:
    """Count words between blanks; the saving is estimated from characters."""

    unit, shared_unit, is_exact = "words", "characters", False

    def measure(self, group: PreferenceGroup) -> Lengths:
        """Measure one group. What a group shares is its prompt, or what its dialogues begin with."""
        texts = [plain_text(completion) for completion in group.completions]
        prompt = _prompt_text(group)
        # Character by character is what is wanted: the texts are no paths.
        start = "" if has_prompt(group) or len(texts) < 2 else os.path.commonprefix(texts)  # noqa: RUF071
        before = len(prompt)
        return Lengths(
            len((prompt or start).split()),
            [len(text[len(start) :].split()) for text in texts],
            [before + len(text) for text in texts],
            before or len(start),
        )

    def shared_prefixes(self) -> dict[int, int]:
        """Return nothing beyond what each row shares."""
        return {}

    def see(self, graph: int) -> None:
        """Need nothing of the graph."""


class TokenMeasure:
    """Count tokens of the sequences that are scored, exactly.

    Holds 4 bytes for each token that the rows of one prompt begin with.

    Args:
        encode: gives the token ids of every full sequence of a group, as they are scored.
    """

    unit, shared_unit, is_exact = "tokens", "tokens", True

    def __init__(self, encode: Callable[[PreferenceGroup], list[list[int]]]) -> None:
        self.encode = encode
        self.prefixes: dict[int, array[int]] = {}
        self._last: array[int] = array("I")

    def measure(self, group: PreferenceGroup) -> Lengths:
        """Measure one group."""
        sequences = self.encode(group)
        # The packed layout keeps at least the last token of a sequence apart: its reward is read there.
        shared = common_length(sequences)
        if sequences:
            shared = min(shared, min(map(len, sequences)) - 1)
        self._last = array("I", sequences[0][:shared] if sequences else [])
        return Lengths(shared, [len(s) - shared for s in sequences], [len(s) for s in sequences], shared)

    def see(self, graph: int) -> None:
        """Shorten what the graph of the group measured last begins with."""
        known = self.prefixes.get(graph)
        self.prefixes[graph] = self._last if known is None else known[: common_length([known, self._last])]

    def shared_prefixes(self) -> dict[int, int]:
        """Return how many tokens all completions of each graph begin with."""
        return {graph: len(prefix) for graph, prefix in self.prefixes.items()}


def common_length(sequences: list[Any]) -> int:
    """Count the items that all sequences begin with."""
    if not sequences:
        return 0
    low, high = min(sequences), max(sequences)
    limit = min(len(low), len(high))
    return next((i for i in range(limit) if low[i] != high[i]), limit)


def _prompt_text(group: PreferenceGroup) -> str:
    if isinstance(group.prompt, str):
        return group.prompt
    return "\n".join(content_text(message.content) for message in group.prompt)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Lengths in a few numbers and as a histogram.

    Args:
        quantiles: name ("min", "5%", "50%", ...) to length.
        edges: borders of the bins, one more than `counts`; the last bin also holds everything longer.
    """

    n: int
    mean: float
    quantiles: dict[str, int]
    edges: list[int]
    counts: list[int]

    @classmethod
    def of(cls, lengths: NDArray[np.uint32]) -> Distribution:
        """Summarise lengths; bins are of one round width and reach to the 99th percentile."""
        if not len(lengths):
            return cls(0, math.nan, {}, [], [])
        shares = {"min": 0.0, "5%": 0.05, "50%": 0.5, "95%": 0.95, "99%": 0.99, "max": 1.0}
        values = np.quantile(lengths, list(shares.values()), method="inverted_cdf").astype(int).tolist()
        width = _round_width((values[4] + 1) / BINS)
        num = max(1, math.ceil((values[4] + 1) / width))
        counts = np.bincount(np.minimum(lengths // width, num - 1), minlength=num).tolist()
        return cls(
            len(lengths),
            float(lengths.mean()),
            dict(zip(shares, values, strict=True)),
            [width * i for i in range(num + 1)],
            counts,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        mean = None if math.isnan(self.mean) else self.mean
        return {"n": self.n, "mean": mean, **self.quantiles, "bin_edges": self.edges, "bin_counts": self.counts}


def _round_width(width: float) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, ... that is not below a width."""
    step = 10 ** math.floor(math.log10(max(width, 1)))
    return next(int(step * f) for f in (1, 2, 5, 10) if step * f >= width)


@dataclass(frozen=True, slots=True)
class Cut:
    """A length at which answers were cut.

    Args:
        length: the longest that occurs, in `unit`.
        count: answers of exactly this length, of `total`.
    """

    length: int
    unit: str
    count: int
    total: int


def find_cut(lengths: Mapping[int, int], unit: str, slack: int = 0) -> Cut | None:
    """Return where answers were cut: at the longest length, when far more answers share it than chance lets them.

    Args:
        lengths: length to the number of answers.
        slack: shorter by so much counts too, for lengths that another tokenizer measures.
    """
    total, longest = sum(lengths.values()), max(lengths, default=0)
    count = sum(lengths.get(longest - less, 0) for less in range(slack + 1))
    is_cut = longest >= LEAST_CUT.get(unit, 32) and count >= max(FEWEST_CUT, SHARE_CUT * total)
    return Cut(longest, unit, count, total) if is_cut else None


class AnswerLengths:
    """Counts how many answers have which length, in characters and in words."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[int]] = {"characters": Counter(), "words": Counter()}

    def add(self, texts: Sequence[str]) -> None:
        """Enter the answers of one group."""
        self.counts["characters"].update(map(len, texts))
        self.counts["words"].update(len(text.split()) for text in texts)

    def cut(self) -> Cut | None:
        """Return where the answers were cut, or None."""
        found = [cut for unit, counts in self.counts.items() if (cut := find_cut(counts, unit))]
        return max(found, key=lambda cut: cut.count, default=None)


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Whether length alone tells the winner.

    Args:
        longer_wins: share of preferences, between completions of unequal length, that the longer wins (characters).
        equal: preferences between completions of equal length, which `longer_wins` leaves out.
    """

    longer_wins: Estimate
    equal: int


def length_bias(edges: Edges, where: NDArray[np.bool_] | None = None) -> LengthBias:
    """Measure length bias over preferences (ties have no winner), clustered by prompt."""
    strict = ~edges.tie if where is None else ~edges.tie & where
    unequal = strict & (edges.longer != 0)
    share = clustered_share(edges.longer[unequal] > 0, edges.prompt[unequal])
    return LengthBias(share, int(strict.sum() - unequal.sum()))


@dataclass(frozen=True, slots=True)
class Saving:
    """What encoding each prompt and each completion once saves.

    Args:
        unit: tokens or characters.
        is_exact: whether it was counted in tokens of the sequences that are scored.
        logical: both sequences of every comparison, as pair rows hold them.
        distinct: what is left when every distinct token is encoded once.
    """

    unit: str
    is_exact: bool
    logical: int
    distinct: int

    @property
    def factor(self) -> float:
        """Return logical / distinct; NaN without comparisons."""
        return self.logical / self.distinct if self.distinct else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON; NaN is null."""
        factor = self.factor
        return {
            "unit": self.unit,
            "exact": self.is_exact,
            "logical": self.logical,
            "distinct": self.distinct,
            "factor": None if math.isnan(factor) else factor,
        }


def measure_saving(nodes: Nodes, logical: int, prefixes: tuple[Keys, NDArray[np.uint32]], measure: Measure) -> Saving:
    """Count the distinct tokens (or characters) of all completions that a comparison names.

    Args:
        logical: sum of both sequences over all comparisons.
        prefixes: graph key of every row, and how much its sequences begin with alike.
    """
    used = np.flatnonzero(nodes.used)
    used = used[np.unique(join_keys(nodes.graph[used], nodes.completion[used]), return_index=True)[1]]
    graphs, inverse = np.unique(nodes.graph[used], return_inverse=True)
    shared = _shared_of(graphs, prefixes, measure.shared_prefixes())
    distinct = int((nodes.total[used] - shared[inverse]).sum() + shared.sum())
    return Saving(measure.shared_unit, measure.is_exact, logical, distinct)


def _shared_of(graphs: Keys, prefixes: tuple[Keys, NDArray[np.uint32]], exact: dict[int, int]) -> NDArray[np.int64]:
    """Return how much each graph's sequences begin with alike: exactly where known, else the least of its rows."""
    if exact:
        return np.array([exact[graph] for graph in graphs.tolist()], dtype=np.int64)
    places = np.searchsorted(graphs, prefixes[0])
    places[places == len(graphs)] = 0
    known = graphs[places] == prefixes[0] if len(graphs) else np.zeros(0, dtype=bool)
    shared = np.full(len(graphs), np.iinfo(np.int64).max)
    np.minimum.at(shared, places[known], prefixes[1][known].astype(np.int64))
    return shared
