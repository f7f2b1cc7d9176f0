"""Judgements that do not fit together: the same one again, both ways, or in a circle."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from rewardsmith.data.checks.judgement_table import Edges, Ints, Keys, join_keys

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
