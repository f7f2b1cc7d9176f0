"""Which prompts nearly equal one another, and which earlier texts a text nearly equals.

MinHash finds candidates, exact Jaccard similarity decides.

MinHash signatures of character shingles with banded look-up (Broder, "On the resemblance and containment of documents",
1997; banding as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4). So a near-duplicate is
never a false alarm of the hash. numpy only: datasketch would add a dependency and Python loops.
"""

from __future__ import annotations

import functools
import math
import os.path
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.merging import Hashes, mix64
from rewardsmith.records import SYSTEM_ROLES, Completion, PreferenceGroup, TokenIds, as_plain

SHINGLE_BYTES = 5
BANDS = 20
ROWS_PER_BAND = 6
# A candidate pair at Jaccard s is found with probability 1 - (1 - s^6)^20: .998 at .8, .92 at .7, .27 at .5.
NUM_HASHES = BANDS * ROWS_PER_BAND
_RANDOM = np.random.default_rng(20240229)
_MULTIPLIERS = _RANDOM.integers(1, 2**63, NUM_HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _RANDOM.integers(0, 2**63, NUM_HASHES, dtype=np.uint64)
_CHUNK = 2048
# How far below its expected value the number of equal hashes may lie, in standard deviations, before a pair is
# passed by without its exact similarity: of pairs at the threshold 1 in 30,000, far fewer than the bands miss.
DEVIATIONS = 4
# Candidates are compared in blocks, the likeliest first: often the first one decides.
BLOCKS = (4, 32, 256)


def near_prompt_key(group: PreferenceGroup) -> str:
    """Return the key under which prompts that differ in case, width or punctuation only are one; splits go by it."""
    return normalise(prompt_text(group))


def prompt_text(group: PreferenceGroup) -> str:
    """Return the text by which a prompt is recognised.

    System messages are left out where there is another: many prompts share one, and would nearly equal each other by
    it alone. With an empty prompt it is what all completions begin with, up to the last line or turn they share in
    full; where they share nothing, their whole text.
    """
    if isinstance(group.prompt, tuple):
        asked = [message for message in group.prompt if message.role not in SYSTEM_ROLES] or group.prompt
        return "\n".join(f"{message.role}: {message.content}" for message in asked)
    if group.prompt.strip():
        return group.prompt
    texts = [c if isinstance(c, str) else _by_line(c) for c in group.completions]
    shared = os.path.commonprefix(texts) if len(texts) > 1 else ""  # noqa: RUF071 - the texts are no paths
    return shared[: shared.rfind("\n") + 1].strip() or "\n".join(texts)


def normalise(text: str) -> str:
    """Fold case, width and accents' forms (NFKC), and every run of anything but letters and digits to one blank."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or folded.strip()


def _by_line(completion: Completion) -> str:
    """Return tokens or messages as text with one unit a line."""
    if isinstance(completion, TokenIds):
        return "".join(f"{token}\n" for token in completion)
    return "\n".join(map(str, as_plain(completion)))


def shingles(text: str) -> Hashes:
    """Return the distinct byte 5-grams of a text as sorted integers; a shorter text is one shingle."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8).astype(np.uint64)
    if len(data) < SHINGLE_BYTES:
        data = np.pad(data, (0, SHINGLE_BYTES - len(data)))
    width = len(data) - SHINGLE_BYTES + 1
    values = np.zeros(width, dtype=np.uint64)
    for shift in range(SHINGLE_BYTES):
        values = (values << np.uint64(8)) | data[shift : shift + width]
    return np.unique(values)


def signature(values: Hashes) -> Hashes:
    """Return the MinHash signature of a set of shingles: the least value under each of 120 hash functions."""
    mixed = mix64(values)
    least = np.full(NUM_HASHES, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(mixed), _CHUNK):
        hashed = mixed[start : start + _CHUNK, None] * _MULTIPLIERS + _OFFSETS
        least = np.minimum(least, (hashed >> np.uint64(16)).min(axis=0))
    return least


def jaccards(values: Hashes, others: Sequence[Hashes]) -> NDArray[np.float64]:
    """Return the exact Jaccard similarity of a sorted set of shingles to each of several."""
    sizes = np.array([len(other) for other in others])
    flat = np.concatenate(others)
    places = np.searchsorted(values, flat)
    places[places == len(values)] = 0
    shared: NDArray[np.int64] = np.add.reduceat((values[places] == flat).astype(np.int64), np.cumsum(sizes) - sizes)
    similar: NDArray[np.float64] = shared / (len(values) + sizes - shared)
    return similar


class NearDuplicates:
    """An index that finds the earlier texts that are nearly equal to a new one.

    Memory is about 2.5 KB a text and the text itself.

    Args:
        threshold: Jaccard similarity of the shingles from which two texts count as near-duplicates.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self.texts: list[str] = []
        self.exact: dict[str, int] = {}
        self._labels: list[str] = []
        # For each band, its one place, or its places by label: of thousands of texts from one template a look-up reads
        # few, and most bands hold one text, for which a dictionary would cost a multiple of what it holds.
        self._bands: dict[int, int | dict[str, list[int]]] = {}
        # The lower halves of the signatures; room for more is added by doubling.
        self._signatures: NDArray[np.uint32] = np.zeros((64, NUM_HASHES), dtype=np.uint32)
        spread = math.sqrt(NUM_HASHES * threshold * (1 - threshold))
        self._least_equal = NUM_HASHES * threshold - DEVIATIONS * spread
        # The latest ones: texts of one template are compared with each other again and again.
        self._shingles = functools.lru_cache(maxsize=4096)(lambda place: shingles(self.texts[place]))

    def find(self, text: str) -> list[int]:
        """Return the places of the near-duplicates of a normalised text."""
        values, least = _look_up(text)
        found = {place for key in _keys(least) for places in self._places(key).values() for place in places}
        return sorted(place for block in self._near_blocks(values, least, list(found)) for place in block)

    def labels(self, text: str) -> set[str]:
        """Return the label under which a normalised text was added; of a new one those of its near-duplicates."""
        if text in self.exact:
            return {self._labels[self.exact[text]]}
        found, seen = set[str](), set[int]()
        if not self._bands:
            return found
        values, least = _look_up(text)
        for key in _keys(least):
            for label, places in self._places(key).items():
                if label in found:
                    continue
                fresh = [place for place in places if place not in seen]
                seen.update(fresh)
                if any(self._near_blocks(values, least, fresh)):
                    found.add(label)
        return found

    def add(self, text: str, label: str = "", *, exactly: bool = False) -> int:
        """Enter a normalised text, to be found in `exact` alone where `exactly` is set. Returns its place."""
        place = len(self.texts)
        self.texts.append(text)
        self.exact[text] = place
        self._labels.append(label)
        if exactly:
            return place
        least = _look_up(text)[1]
        while place >= len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.zeros_like(self._signatures)])
        self._signatures[place] = least.astype(np.uint32)
        for key in _keys(least):
            held = self._bands.setdefault(key, place)
            if held != place:
                by_label = self._bands[key] = self._places(key)
                by_label.setdefault(label, []).append(place)
        return place

    def _places(self, key: int) -> dict[str, list[int]]:
        """Return the places of a band by their label."""
        held = self._bands.get(key)
        if held is None:
            return {}
        return {self._labels[held]: [held]} if isinstance(held, int) else held

    def _near_blocks(self, values: Hashes, least: Hashes, places: list[int]) -> Iterator[list[int]]:
        """Yield those of the places that are near, block by block, the likeliest first."""
        if not places:
            return
        equal = (self._signatures[places] == least.astype(np.uint32)).sum(axis=1)
        order = np.argsort(-equal, kind="stable")
        likely = [places[i] for i in order[equal[order] >= self._least_equal].tolist()]
        sizes, start = iter(BLOCKS), 0
        while start < len(likely):
            block = likely[start : start + next(sizes, BLOCKS[-1])]
            similar = jaccards(values, [self._shingles(place) for place in block])
            yield [block[i] for i in np.flatnonzero(similar >= self.threshold).tolist()]
            start += len(block)


@functools.lru_cache(maxsize=1)
def _look_up(text: str) -> tuple[Hashes, Hashes]:
    """Return shingles and signature; a text that is looked up is entered next."""
    values = shingles(text)
    return values, signature(values)


def _keys(least: Hashes) -> list[int]:
    """Return one number for each band; two bands of one number cost a comparison, since similarity is exact."""
    keys = np.arange(BANDS, dtype=np.uint64)
    for column in least.reshape(BANDS, ROWS_PER_BAND).T:
        keys = mix64(keys ^ column)
    return [int(key) for key in keys]
