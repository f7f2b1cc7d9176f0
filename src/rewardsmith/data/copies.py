"""Judgements that several sources hold: none counts more often than in the source that holds it most."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace

from rewardsmith.data.merging import text_digest
from rewardsmith.records import Comparison, PreferenceGroup, graph_key, text_key


@dataclass
class Copies:
    """What the sources before hold, and how much of the next ones was left out as a copy of it.

    A judgement is a copy when prompt, both answers and all that it says equal another's: outcome, annotator, time,
    margin, weight, share, rationale. That of a named annotator counts once. Those that name nobody may be votes of
    several people: they count as often as in the source that holds most of them. A group without a prompt is a copy
    when its ratings and other columns are equal too, since what was asked is not known. Memory holds a key of 8 bytes
    for each judgement.

    Args:
        judgements: copies that were left out.
        groups: groups of which nothing was left.
    """

    judgements: int = 0
    groups: int = 0
    _most: Counter[bytes] = field(default_factory=Counter)

    def left_out_of(self, source: Iterable[PreferenceGroup]) -> Iterator[PreferenceGroup]:
        """Yield the groups of the next source with their copies left out."""
        here: Counter[bytes] = Counter()
        for group in source:
            named = all(comparison.annotator is not None for comparison in group.comparisons)
            is_new = self._is_new(_answers_key(group), here, bool(group.prompt) or named)
            kept = group.comparisons
            if group.prompt:
                kept = tuple(c for c in kept if self._is_new(_key(group, c), here, c.annotator is not None))
            elif not is_new:
                kept = ()
            self.judgements += len(group.comparisons) - len(kept)
            if kept or is_new:
                yield group if len(kept) == len(group.comparisons) else replace(group, comparisons=kept)
            else:
                self.groups += 1
        self._most |= here

    def _is_new(self, key: bytes, here: Counter[bytes], once: bool) -> bool:
        """Count a key of this source and say whether it adds to what is held; `once` holds for all sources together."""
        here[key] += 1
        return here[key] == 1 and key not in self._most if once else here[key] > self._most[key]


def _key(group: PreferenceGroup, comparison: Comparison) -> bytes:
    """Return the key of a judgement; a tie has no first side."""
    sides = [text_key(group.completions[place]) for place in (comparison.better, comparison.worse)]
    if comparison.is_tie and comparison.probability is None:
        sides.sort()
    return text_digest(json.dumps([*graph_key(group), *sides, *astuple(comparison)[2:]]))


def _answers_key(group: PreferenceGroup) -> bytes:
    """Return the key of what a group says besides judgements; without a prompt, of the whole group."""
    whole: list[object] = [*graph_key(group), *map(text_key, group.completions), dict(group.ratings), group.models]
    if not group.prompt:
        whole += [group.group_id, dict(group.metadata), *map(astuple, group.comparisons)]
    return text_digest(json.dumps(whole, sort_keys=True, default=str))
