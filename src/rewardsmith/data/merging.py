"""Which texts and prompts are one: groups of one prompt merged, each completion stored once; hashes and runs of words.

Ten pairs that share a prompt become one graph: the prompt and every distinct answer are then encoded once.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison, Completion, PreferenceGroup, graph_key, text_key

Hashes = NDArray[np.uint64]
# Scripts without blanks between words: every character is a word. Elsewhere a word is a run of letters and digits.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def text_digest(text: str, salt: bytes = b"") -> bytes:
    """Return 8 bytes that stand for a text, the same in every process."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()


def text_hash(text: str, salt: bytes = b"") -> int:
    """Return a 64-bit number of a text that is the same in every process."""
    return int.from_bytes(text_digest(text, salt), "little")


def hash_share(text: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on text and seed only."""
    return text_hash(text, str(seed).encode()[:16]) / 2**64


def mix64(values: Hashes) -> Hashes:
    """Spread integers over 64 bits (the finaliser of splitmix64), since neighbouring values share most bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def words_of(text: str) -> list[str]:
    """Return the words of a text, folded in case, width and form (NFKC); punctuation and blanks are left out.

    Example:
        >>> words_of("What's  the CAPITAL?")
        ['what', 's', 'the', 'capital']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def ngram_hashes(words: Sequence[str], size: int, word_hash: Callable[[str], int] = hash) -> Hashes:
    """Return one 64-bit number for each run of `size` words, in order; none for a shorter text.

    Python's own hash of a string differs from process to process: numbers that are kept need another `word_hash`
    (a signed 64-bit number of a word). Two different runs are equal with probability 2^-64.
    """
    width = len(words) - size + 1
    if width < 1:
        return np.zeros(0, dtype=np.uint64)
    values = mix64(np.fromiter(map(word_hash, words), dtype=np.int64, count=len(words)).view(np.uint64))
    total = np.zeros(width, dtype=np.uint64)
    for start in range(size):
        total = total * _FACTOR + values[start : start + width]
    return mix64(total)


@dataclass(frozen=True, slots=True)
class Match:
    """What an index knows of one text.

    Args:
        first: the lowest number that holds any of the n-grams; None when none does.
        place: where the first n-gram stands that any number holds.
        fresh: (number, place of the n-gram) of what no earlier look-up had found.
    """

    first: int | None
    place: int = 0
    fresh: list[tuple[int, int]] = field(default_factory=list)


class NgramIndex:
    """Which numbers hold which n-grams: 12 bytes for every n-gram of what is added, about 3 times that while sealing.

    Add everything, then look up; the first look-up seals the index.
    """

    def __init__(self) -> None:
        self._parts: list[Hashes] = []
        self._owners: list[NDArray[np.int32]] = []
        self._size = 0
        self._sealed = False

    def add(self, number: int, hashes: Hashes) -> None:
        """Enter the n-grams of a text; numbers must not fall."""
        unique = np.unique(hashes)
        self._parts.append(unique)
        self._owners.append(np.full(len(unique), number, dtype=np.int32))
        self._size = max(self._size, number + 1)

    def seal(self) -> None:
        """Sort what was added."""
        hashes = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.uint64)
        owners = np.concatenate(self._owners) if self._owners else np.zeros(0, dtype=np.int32)
        self._parts, self._owners = [], []
        order = np.argsort(hashes, kind="stable")
        hashes, self._flat = hashes[order], owners[order]
        starts = (
            np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(hashes) else np.zeros(0, int)
        )
        self._keys = hashes[starts]
        self._starts = np.append(starts, len(hashes))
        self._seen = np.zeros(len(self._keys), dtype=bool)
        self._given = np.zeros(self._size, dtype=bool)
        self._sealed = True

    def match(self, hashes: Hashes) -> Match:
        """Look up the n-grams of a text. Each number is `fresh` once, at the first text that shares an n-gram."""
        if not self._sealed:
            self.seal()
        if not len(hashes) or not len(self._keys):
            return Match(None)
        places = np.searchsorted(self._keys, hashes)
        places[places == len(self._keys)] = 0
        found = np.flatnonzero(self._keys[places] == hashes)
        if not len(found):
            return Match(None)
        keys = places[found]
        fresh = []
        # A run of words that stands everywhere would be walked through for every text; once is enough.
        for key, place in zip(keys.tolist(), found.tolist(), strict=True):
            if self._seen[key]:
                continue
            self._seen[key] = True
            owners = self._flat[self._starts[key] : self._starts[key + 1]]
            owners = np.unique(owners[~self._given[owners]])
            self._given[owners] = True
            fresh += [(owner, place) for owner in owners.tolist()]
        return Match(int(self._flat[self._starts[keys]].min()), int(found[0]), fresh)


def deduplicate(group: PreferenceGroup) -> PreferenceGroup:
    """Store each completion of `group` once and re-index its comparisons.

    A comparison of two equal completions stays, with `better == worse`. Where equal completions carry different
    ratings the first stays and the others are kept in `metadata["other_ratings"]` as `[name, completion, score]`.
    """
    places: dict[str, int] = {}
    index = [places.setdefault(text_key(c), len(places)) for c in group.completions]
    if len(places) == len(index):
        return group
    first = {place: raw for raw, place in reversed(list(enumerate(index)))}
    metadata = dict(group.metadata)
    ratings, others = _merge_ratings(group.ratings, index, len(places))
    if others:
        metadata["other_ratings"] = [*metadata.get("other_ratings", []), *others]
    models = _merge_models(group.models, index, len(places))
    comparisons = tuple(_moved(c, index[c.better], index[c.worse]) for c in group.comparisons)
    completions = tuple(group.completions[first[place]] for place in range(len(places)))
    return replace(
        group, completions=completions, comparisons=comparisons, ratings=ratings, models=models, metadata=metadata
    )


def with_score_margins(group: PreferenceGroup, scale: float | Mapping[str, float]) -> PreferenceGroup:
    """Give each comparison that has no margin the difference of its sides' scores, times `scale`.

    Args:
        scale: a number, for the rating "score" or the only one; or a mapping of a rating's name to its number.

    Raises:
        ConfigError: several ratings and none named, or a scale that is no positive number.
    """
    if isinstance(scale, Mapping):
        ((name, factor),) = scale.items() if len(scale) == 1 else (("", math.nan),)
    else:
        name = "score" if "score" in group.ratings or len(group.ratings) != 1 else next(iter(group.ratings))
        factor = float(scale)
    if not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"score_margin is {scale}; give a number above 0, or one rating with its number")
    if name not in group.ratings:
        if group.ratings and not isinstance(scale, Mapping):
            raise ConfigError(f"score_margin: name one of the ratings {', '.join(group.ratings)}, as NAME={factor:g}")
        return group
    scores = group.ratings[name]

    def widened(edge: Comparison) -> Comparison:
        better, worse = scores[edge.better], scores[edge.worse]
        if edge.is_tie or edge.margin is not None or better is None or worse is None or better <= worse:
            return edge
        return replace(edge, margin=factor * (better - worse))

    return replace(group, comparisons=tuple(map(widened, group.comparisons)))


class MergedGroups(list[PreferenceGroup]):
    """Groups of which no two share a prompt, so that nobody merges them again."""


def merge_groups(groups: Iterable[PreferenceGroup]) -> list[PreferenceGroup]:
    """Merge groups with one prompt (and equal tools and template arguments) into one graph.

    Order is that of first appearance. Groups whose prompt is empty never merge: an empty prompt means that the
    prompt is not known apart, not that two groups share it. Metadata on which the groups agree stays as it is;
    the rest is kept, one dictionary per merged group, in `metadata["merged"]`.
    """
    buckets: dict[Any, list[PreferenceGroup]] = {}
    for number, group in enumerate(groups):
        key = number if not group.prompt else graph_key(group)
        buckets.setdefault(key, []).append(group)
    return [_merge_bucket(bucket) for bucket in buckets.values()]


def _merge_bucket(bucket: Sequence[PreferenceGroup]) -> PreferenceGroup:
    """Lay groups of one prompt end to end, then store each completion once."""
    if len(bucket) == 1:
        return deduplicate(bucket[0])
    completions: list[Completion] = []
    comparisons: list[Comparison] = []
    models: list[str | None] = []
    names = list(dict.fromkeys(name for group in bucket for name in group.ratings))
    ratings: dict[str, list[float | None]] = {name: [] for name in names}
    for group in bucket:
        start = len(completions)
        completions.extend(group.completions)
        comparisons.extend(_moved(c, c.better + start, c.worse + start) for c in group.comparisons)
        models.extend(group.models or [None] * len(group))
        for name in names:
            ratings[name].extend(group.ratings.get(name, (None,) * len(group)))
    return deduplicate(
        PreferenceGroup(
            prompt=bucket[0].prompt,
            completions=tuple(completions),
            comparisons=tuple(comparisons),
            ratings={name: tuple(scores) for name, scores in ratings.items()},
            models=tuple(models) if any(models) else (),
            source="+".join(dict.fromkeys(g.source for g in bucket if g.source)) or None,
            group_id=next((g.group_id for g in bucket if g.group_id is not None), None),
            tools=bucket[0].tools,
            chat_template_kwargs=bucket[0].chat_template_kwargs,
            metadata=_merge_metadata(bucket),
            where=_place(bucket),
        )
    )


def _place(bucket: Sequence[PreferenceGroup]) -> str:
    """Name the first row of a prompt, and how many more it has."""
    first, more = bucket[0].where, len(bucket) - 1
    return f"{first} and {more} more of its prompt" if first else ""


def _merge_metadata(bucket: Sequence[PreferenceGroup]) -> dict[str, Any]:
    """Keep what all groups agree on; keep what differs group by group under "merged"."""
    shared = {k: v for k, v in bucket[0].metadata.items() if all(_agrees(g.metadata, k, v) for g in bucket[1:])}
    differing = [{k: v for k, v in group.metadata.items() if k not in shared} for group in bucket]
    return {**shared, "merged": differing} if any(differing) else shared


def _agrees(metadata: Mapping[str, Any], key: str, value: object) -> bool:
    return key in metadata and bool(metadata[key] == value)


def _merge_ratings(
    ratings: Mapping[str, Sequence[float | None]], index: Sequence[int], size: int
) -> tuple[dict[str, tuple[float | None, ...]], list[list[Any]]]:
    """Return one score per distinct completion, and the scores that disagree with the first."""
    merged: dict[str, tuple[float | None, ...]] = {}
    others: list[list[Any]] = []
    for name, scores in ratings.items():
        row: list[float | None] = [None] * size
        for raw, score in enumerate(scores):
            place = index[raw]
            if row[place] is None:
                row[place] = score
            elif score is not None and score != row[place]:
                others.append([name, place, score])
        merged[name] = tuple(row)
    return merged, others


def _merge_models(models: Sequence[str | None], index: Sequence[int], size: int) -> tuple[str | None, ...]:
    """Return the first known author of each distinct completion."""
    row: list[str | None] = [None] * size
    for raw, model in enumerate(models):
        row[index[raw]] = row[index[raw]] or model
    return tuple(row) if models else ()


def _moved(comparison: Comparison, better: int, worse: int) -> Comparison:
    """Point a comparison at other completions."""
    return replace(comparison, better=better, worse=worse)
