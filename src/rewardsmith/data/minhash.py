"""Find near-duplicate prompts: MinHash signatures of character shingles with banded look-up, in numpy.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4. Candidates of the bands are verified by their exact Jaccard similarity,
so a report of a near-duplicate is never a false alarm of the hash.
"""

from __future__ import annotations

import numpy as np

SHINGLE_BYTES = 5
BANDS = 20
ROWS_PER_BAND = 6
# A candidate pair at Jaccard s is found with probability 1 - (1 - s^6)^20: .998 at .8, .92 at .7, .27 at .5.
_RANDOM = np.random.default_rng(20240229)
_MULTIPLIERS = _RANDOM.integers(1, 2**63, BANDS * ROWS_PER_BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _RANDOM.integers(0, 2**63, BANDS * ROWS_PER_BAND, dtype=np.uint64)
_CHUNK = 2048


def shingles(text: str) -> np.ndarray:
    """Give the distinct byte 5-grams of a text as sorted integers; a shorter text is one shingle."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8).astype(np.uint64)
    if len(data) < SHINGLE_BYTES:
        data = np.pad(data, (0, SHINGLE_BYTES - len(data)))
    width = len(data) - SHINGLE_BYTES + 1
    values = np.zeros(width, dtype=np.uint64)
    for shift in range(SHINGLE_BYTES):
        values = (values << np.uint64(8)) | data[shift : shift + width]
    return np.unique(values)


def signature(values: np.ndarray) -> np.ndarray:
    """Give the MinHash signature of a set of shingles: the least value under each of 120 hash functions."""
    mixed = _mix(values)
    least = np.full(len(_MULTIPLIERS), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(mixed), _CHUNK):
        hashed = mixed[start : start + _CHUNK, None] * _MULTIPLIERS + _OFFSETS
        least = np.minimum(least, (hashed >> np.uint64(16)).min(axis=0))
    return least


def _mix(values: np.ndarray) -> np.ndarray:
    """Spread integers over 64 bits (the finaliser of splitmix64), since neighbouring shingles share most bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Give the exact Jaccard similarity of two sets of shingles."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


class NearDuplicates:
    """An index that finds the earlier texts that are nearly equal to a new one.

    Memory is about 2 KB a text and the text itself.

    Args:
        threshold: Jaccard similarity of the shingles from which two texts count as near-duplicates.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self.texts: list[str] = []
        self.exact: dict[str, int] = {}
        self.bands: dict[bytes, list[int]] = {}

    def find(self, text: str) -> tuple[list[int], list[bytes]]:
        """Give the places of the near-duplicates of a normalised text, and its bands for `add`."""
        values = shingles(text)
        hashes = signature(values).reshape(BANDS, ROWS_PER_BAND)
        keys = [bytes([band]) + hashes[band].tobytes() for band in range(BANDS)]
        candidates = sorted({place for key in keys for place in self.bands.get(key, ())})
        near = [p for p in candidates if jaccard(values, shingles(self.texts[p])) >= self.threshold]
        return near, keys

    def add(self, text: str, keys: list[bytes]) -> int:
        """Enter a normalised text with the bands that `find` gave. Returns its place."""
        place = len(self.texts)
        self.texts.append(text)
        self.exact[text] = place
        for key in keys:
            self.bands.setdefault(key, []).append(place)
        return place
