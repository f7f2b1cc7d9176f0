"""Where data do not fit together or give the label away: judgements again, both ways or in a circle; marks, leaks."""

from __future__ import annotations

import re
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from rewardsmith.data.checks.agreement import Edges, Ints, Keys, Names, join_keys
from rewardsmith.data.merging import text_hash, words_of
from rewardsmith.files.reading import SPLITS

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The same pair with the same outcome by the same annotator (or by unnamed ones) again.

    Args:
        count: comparisons beyond the first of each.
        rows: the rows of these comparisons, in order.
        first: for each of them, the row where it stands first.
    """

    count: int
    rows: Ints
    first: Ints


@dataclass(frozen=True, slots=True)
class Contradictions:
    """Pairs that are preferred both ways.

    Args:
        total: how many pairs are preferred in any way.
        pairs: how many pairs.
        prompts: on how many prompts.
        by_one: pairs where one annotator, or comparisons that name none, say both; elsewhere people disagree.
        rows: rows of all comparisons of these pairs, in order, each once.
        rows_by_one: those of the pairs by one.
        examples: for the first pairs by one: a row that says one thing and a row that says the other.
    """

    total: int
    pairs: int
    prompts: int
    by_one: int
    rows: Ints
    rows_by_one: Ints
    examples: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cycles:
    """Circles of three or more completions of a prompt: a > b > c > a.

    Args:
        prompts: how many prompts hold one.
        comparisons: comparisons between completions that lie on a circle together.
        rows: rows of these comparisons, in order, each once.
        examples: for the first prompts: the rows of the comparisons of a shortest circle, in its order.
    """

    prompts: int
    comparisons: int
    rows: Ints
    examples: list[list[int]] = field(default_factory=list)


def find_duplicates(edges: Edges) -> Duplicates:
    """Find comparisons that say nothing new."""
    direction = (edges.direction.astype(np.int64) + 1).astype(np.uint64)
    key = join_keys(edges.pair, direction, edges.annotator.astype(np.uint64))
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(key)))
    return Duplicates(len(again), edges.row[again], edges.row[first[inverse[again]]])


def find_contradictions(edges: Edges) -> Contradictions:
    """Find pairs that are preferred both ways; ties contradict nothing."""
    strict = np.flatnonzero(~edges.tie)
    pair, direction = edges.pair[strict], edges.direction[strict]
    both = _both_ways(pair, direction)
    by_rater = join_keys(pair, edges.annotator[strict].astype(np.uint64))
    by_one = _both_ways(by_rater, direction)
    examples = []
    for key in list(dict.fromkeys(by_rater[by_one].tolist()))[:EXAMPLES]:
        members = np.flatnonzero(by_rater == np.uint64(key))
        up, down = (members[direction[members] == sign][0] for sign in (1, -1))
        examples.append((int(edges.row[strict[min(up, down)]]), int(edges.row[strict[max(up, down)]])))
    return Contradictions(
        len(np.unique(pair)),
        len(np.unique(pair[both])),
        len(np.unique(edges.prompt[strict[both]])),
        len(np.unique(pair[by_one])),
        np.unique(edges.row[strict[both]]),
        np.unique(edges.row[strict[by_one]]),
        examples,
    )


def _both_ways(keys: Keys, direction: np.ndarray) -> np.ndarray:
    """Mark the entries whose key occurs in both directions."""
    _, inverse = np.unique(keys, return_inverse=True)
    ups = np.bincount(inverse, direction > 0)
    downs = np.bincount(inverse, direction < 0)
    return ((ups > 0) & (downs > 0))[inverse] if len(keys) else np.zeros(0, dtype=bool)


def find_cycles(edges: Edges) -> Cycles:
    """Find circles among the majorities of each pair; a pair that is judged both ways as often points nowhere.

    Completions lie on a circle together exactly when they are in one strongly connected component (Tarjan 1972).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    kept = _majority_edges(edges)
    prompt = edges.prompt[kept]
    ends = np.concatenate([join_keys(prompt, edges.better[kept]), join_keys(prompt, edges.worse[kept])])
    names, node = np.unique(ends, return_inverse=True)
    if not len(names):
        return Cycles(0, 0, np.zeros(0, dtype=np.int64))
    start, end = node[: len(kept)], node[len(kept) :]
    graph = coo_matrix((np.ones(len(kept), dtype=np.int8), (start, end)), shape=(len(names), len(names)))
    component = connected_components(graph.tocsr(), directed=True, connection="strong")[1]
    inside = np.flatnonzero(component[start] == component[end])
    examples: list[list[int]] = []
    seen: set[int] = set()
    for place in inside.tolist():
        if component[start[place]] in seen or len(examples) == EXAMPLES:
            continue
        seen.add(component[start[place]])
        members = inside[component[start[inside]] == component[start[place]]]
        circle = _shortest_circle(start[members], end[members])
        examples.append([int(edges.row[kept[members[i]]]) for i in circle])
    return Cycles(len(np.unique(prompt[inside])), len(inside), np.unique(edges.row[kept[inside]]), examples)


def _majority_edges(edges: Edges) -> Ints:
    """Give, for every pair with a majority, the first comparison that agrees with it."""
    strict = np.flatnonzero(~edges.tie)
    direction = edges.direction[strict]
    pairs, inverse = np.unique(edges.pair[strict], return_inverse=True)
    net = np.bincount(inverse, direction, minlength=len(pairs))
    agrees = strict[direction * net[inverse] > 0]
    first = np.unique(edges.pair[agrees], return_index=True)[1]
    return np.sort(agrees[first])


def _shortest_circle(start: np.ndarray, end: np.ndarray) -> list[int]:
    """Return the places of the edges of a shortest circle through the first edge of a strong component."""
    leaving: dict[int, list[int]] = {}
    for place, node in enumerate(start.tolist()):
        leaving.setdefault(node, []).append(place)
    goal, came = int(start[0]), {int(end[0]): 0}
    queue = deque([int(end[0])])
    while queue and goal not in came:
        node = queue.popleft()
        for place in leaving[node]:
            after = int(end[place])
            if after not in came:
                came[after] = place
                queue.append(after)
    circle = [came[goal]]
    while circle[-1] != 0:
        circle.append(came[int(start[circle[-1]])])
    return circle[::-1]


# Below so many characters an answer stands in another by chance: "Yes" in "Yes, it is".
LEAST_HELD = 30
_WORD = r"(?:chosen|rejected|reject|preferred|dispreferred|non-preferred|winner|loser)"
_NAMED = rf"(?:label|verdict|judge?ment|preference)\s*[:=]\W{{0,2}}(?:{_WORD}|better|worse|good|bad|[01])\b"
_BRACKETED = rf"[\[(<{{]\W*(?:\w+\W+)?{_WORD}\W*[\])>}}]"
_OPENING = rf"{_WORD}(?:\s+(?:answer|response|completion))?\s*[:=]"
_AT_START = re.compile(rf"\A\W*(?:{_BRACKETED}|{_OPENING}|{_NAMED})", re.IGNORECASE)
_AT_END = re.compile(rf"(?:{_BRACKETED}|{_NAMED})\W*\Z", re.IGNORECASE)
_TAG = re.compile(r"[<\[({][/|]?[A-Za-z][\w/+-]{0,23}\|?[>\])}]")
SMALL, BARE = "a small letter", "no punctuation"
# Where to look for a label; a text between them is the answer itself.
_EDGE = 80


def label_in(text: str) -> str | None:
    """Return the words at the beginning or the end of a text that name a label, such as "[CHOSEN]" or "Rejected:".

    Example:
        >>> label_in("[chosen] The capital is Paris."), label_in("We have chosen Paris.")
        ('[chosen]', None)
    """
    match = _AT_START.search(text[:_EDGE]) or _AT_END.search(text[-_EDGE:])
    return match[0].strip() if match else None


def holds_whole(longer: str, shorter: str) -> bool:
    """Whether one answer stands in the other as a whole, as a cut or a continued one does."""
    shorter = shorter.strip()
    return len(shorter) >= LEAST_HELD and len(longer) > len(shorter) and shorter in longer


@dataclass(frozen=True, slots=True)
class Tell:
    """A mark that one side of preferences has and the other has not.

    Args:
        place: "begins with", "ends with" or "holds".
        mark: the word.
        count: preferences in which exactly one side has it.
        preferred: share of them in which that side is preferred.
    """

    place: str
    mark: str
    count: int
    preferred: float


class Tells:
    """Counts first and last words, bracketed words and how both sides of every preference begin and end.

    Memory is bounded: when many marks were seen once only, these are forgotten (Manku and Motwani 2002, "Approximate
    Frequency Counts over Data Streams"), so a mark that stands in a percent of the preferences stays.
    """

    MOST_MARKS = 200_000

    def __init__(self) -> None:
        self.num_preferences = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._wins: Counter[tuple[str, str]] = Counter()

    def add(self, better: str, worse: str) -> None:
        """Enter one preference."""
        self.num_preferences += 1
        winner, loser = set(_marks(better)), set(_marks(worse))
        for mark in winner ^ loser:
            self._counts[mark] += 1
            self._wins[mark] += mark in winner
        if len(self._counts) > self.MOST_MARKS:
            self._counts = Counter({mark: n for mark, n in self._counts.items() if n > 1})
            self._wins = Counter({mark: n for mark, n in self._wins.items() if mark in self._counts})

    def find(self, least: int = 20, share: float = 0.1, purity: float = 0.98) -> list[Tell]:
        """Return the marks that decide: in `share` of the preferences (and `least` of them), one way nearly always."""
        enough = max(least, share * self.num_preferences)
        tells = [
            Tell(place, mark, count, self._wins[place, mark] / count)
            for (place, mark), count in self._counts.items()
            if count >= enough
        ]
        decided = [tell for tell in tells if max(tell.preferred, 1 - tell.preferred) >= purity]
        # A capital or a full stop that only goes with a word says nothing beside it.
        words = [tell for tell in decided if tell.mark not in (SMALL, BARE)]
        return sorted(words or decided, key=lambda tell: (-tell.count, tell.place, tell.mark))


def _marks(text: str) -> Iterator[tuple[str, str]]:
    whole, text = text, text.strip()
    if not text:
        return
    # An export may leave a blank on one side, or cut the capital or the full stop off.
    yield from (("begins with", whole[0]),) if whole[0].isspace() else ()
    yield from (("ends with", whole[-1]),) if whole[-1].isspace() else ()
    yield from (("begins with", SMALL),) if text[0].islower() else ()
    yield from (("ends with", BARE),) if text[-1].isalnum() else ()
    yield "begins with", text[:200].split()[0][:24]
    yield "ends with", text[-200:].split()[-1][-24:]
    text = text[:2000]
    if "<" in text or "[" in text or "{" in text or "(" in text:
        for tag in _TAG.findall(text):
            yield "holds", tag


def split_of(file: str) -> str | None:
    """Find the name of a split in a path; the file's own name decides before its folders."""
    for part in reversed(PurePath(file).parts):
        words = set(re.split(r"[-_. ]", part.lower()))
        found = next((name for name, aliases in SPLITS.items() if words & set(aliases)), None)
        if found:
            return found
    return None


@dataclass(frozen=True, slots=True)
class SharedPrompts:
    """Prompts that stand in several files, or in several splits.

    Args:
        count: how many prompts.
        rows: numbers of all rows with such a prompt, in order.
        examples: for the first of them a row of one side and a row of another.
    """

    count: int
    rows: list[int]
    examples: list[tuple[int, int]]


class PromptPlaces:
    """Which files and which splits ask what: 24 bytes a row. Case, punctuation and blanks do not count."""

    def __init__(self) -> None:
        self.files, self.splits = Names(), Names()
        self._columns: list[array[Any]] = [array(kind) for kind in "QQII"]

    def add(self, row: int, where: str, question: str, split: str | None = None) -> None:
        """Enter a row by its question text; `split` says where it belongs when its file's name does not."""
        words = " ".join(words_of(question))
        if not words:
            return
        file = where.rpartition(":row ")[0]
        values = (text_hash(words), row, self.files.encode(file), self.splits.encode(split or split_of(file)))
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def in_several_files(self) -> SharedPrompts:
        """Find the prompts that stand in several files."""
        return self._shared(2)

    def in_several_splits(self) -> SharedPrompts:
        """Find the prompts that stand in several splits; rows of no known split are left out."""
        return self._shared(3)

    def _shared(self, place: int) -> SharedPrompts:
        kinds: list[Any] = [np.uint64, np.uint64, np.uint32, np.uint32]
        columns: list[Any] = [np.frombuffer(c, dtype=k) for c, k in zip(self._columns, kinds, strict=True)]
        known = columns[place] > 0
        key, row, side = columns[0][known], columns[1][known], columns[place][known]
        if not len(key):
            return SharedPrompts(0, [], [])
        order = np.lexsort((row, side, key))
        key, row, side = key[order], row[order], side[order]
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        ends = np.append(starts[1:], len(key)) - 1
        # Sorted by side inside a prompt: it has several exactly when its first and its last differ.
        shared = np.flatnonzero(side[starts] != side[ends])
        inside = np.repeat(side[starts] != side[ends], np.diff(np.append(starts, len(key))))
        examples = []
        for first, last in zip(starts[shared[:5]].tolist(), ends[shared[:5]].tolist(), strict=True):
            other = first + int(np.flatnonzero(side[first : last + 1] != side[first])[0])
            examples.append((int(row[first]), int(row[other])))
        return SharedPrompts(len(shared), sorted(row[inside].tolist()), examples)
