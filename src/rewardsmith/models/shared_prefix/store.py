"""Token ids as bytes that sort as they do: which texts begin alike, and what those seen before have left behind."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar

TOKEN_BYTES = 4
MIN_SHARED_TOKENS = 8
# Fewer tokens cost less to compute than to look after.
SHORTEST_KEPT = 32
# The keys and values of a kept token cost a batch about as much as this part of a computed one.
KEPT_TOKENS = 16
Entry = TypeVar("Entry")


def sort_key(ids: Sequence[int]) -> bytes:
    """Return bytes that sort as the token ids do and are equal exactly when they are."""
    words = array("I", ids)
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()


def num_shared_tokens(left: bytes, right: bytes) -> int:
    """Count the tokens of the common prefix of two keys by bisection."""
    low, high = 0, min(len(left), len(right)) // TOKEN_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if left[low * TOKEN_BYTES : middle * TOKEN_BYTES] == right[low * TOKEN_BYTES : middle * TOKEN_BYTES]:
            low = middle
        else:
            high = middle - 1
    return low


def group_by_prefix(keys: Sequence[bytes]) -> list[list[int]]:
    """Return indices of `keys`, which must be sorted, cut into groups that are worth sharing a prefix.

    A key joins the group before it when the tokens it saves outweigh those that the group's shorter prefix costs.
    """
    groups: list[list[int]] = []
    shared = 0
    for index, key in enumerate(keys):
        common = num_shared_tokens(keys[index - 1], key) if index else 0
        if groups and _is_worth_joining(common, shared, len(groups[-1])):
            shared = common if len(groups[-1]) == 1 else min(shared, common)
            groups[-1].append(index)
        else:
            groups.append([index])
            shared = 0
    return groups


def _is_worth_joining(common: int, shared: int, size: int) -> bool:
    """Whether one more member with `common` shared tokens saves more than it costs a group of `size`."""
    if common < MIN_SHARED_TOKENS:
        return False
    return size == 1 or common > max(0, shared - common) * (size - 1)


class PrefixStore(Generic[Entry]):
    """Pasts under their token ids, at most `max_tokens` of them; the least recently used go first."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens, self.num_tokens = max_tokens, 0
        # None where a row was seen whose past cannot be cut: the next one that shares its start is worth keeping.
        self._entries: OrderedDict[bytes, Entry | None] = OrderedDict()
        self._keys: list[bytes] = []

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: bytes, past: Entry | None) -> None:
        """Keep a past, and drop others until all fit; what is larger than everything is not kept."""
        size = len(key) // TOKEN_BYTES
        if not SHORTEST_KEPT <= size <= self.max_tokens or (past is None and key in self._entries):
            return
        if key not in self._entries:
            insort(self._keys, key)
            self.num_tokens += size
        self._entries[key] = past
        self._entries.move_to_end(key)
        while self.num_tokens > self.max_tokens:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._keys.clear()
        self.num_tokens = 0

    def closest(self, key: bytes) -> tuple[int, bytes]:
        """Return how many tokens the nearest entry shares with a key, and that entry; nothing is `(0, b"")`."""
        place = bisect_left(self._keys, key)
        near = self._keys[max(0, place - 1) : place + 1]
        return max(((num_shared_tokens(one, key), one) for one in near), default=(0, b""))

    def longest_prefix(self, key: bytes) -> bytes:
        """Return the longest entry that has a past and that a key begins with; empty where there is none."""
        while place := bisect_right(self._keys, key):
            found = self._keys[place - 1]
            shared = num_shared_tokens(found, key) * TOKEN_BYTES
            if shared == len(found) and self._entries[found] is not None:
                return found
            key = found[: shared if shared < len(found) else shared - TOKEN_BYTES]
        return b""

    def past(self, key: bytes) -> Entry | None:
        """Return an entry's past, which is now the most recently used."""
        self._entries.move_to_end(key)
        return self._entries[key]

    def _drop(self, key: bytes) -> None:
        del self._entries[key]
        del self._keys[bisect_left(self._keys, key)]
        self.num_tokens -= len(key) // TOKEN_BYTES
