"""Which sequences begin alike: equal ones, the prefix that a group shares, and groups worth sharing one.

No torch here: the server's queue sorts and groups waiting requests with the same functions.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

Sequences = Sequence[Sequence[int]]
MIN_SHARED_TOKENS = 8
TOKEN_BYTES = 4


def shared_prefix_length(sequences: Sequences) -> int:
    """Give how many leading tokens all sequences share, leaving each at least its last token.

    One sequence alone shares nothing.
    """
    if len(sequences) < 2:
        return 0
    # The common prefix of a set is that of its lexicographic extremes.
    low, high = min(sequences, key=tuple), max(sequences, key=tuple)
    limit = min(map(len, sequences)) - 1
    for index in range(limit):
        if low[index] != high[index]:
            return index
    return limit


def distinct(sequences: Iterable[Sequence[int]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Give the distinct sequences in order of first appearance and, for each input, which one it is."""
    numbers: dict[tuple[int, ...], int] = {}
    index = [numbers.setdefault(tuple(sequence), len(numbers)) for sequence in sequences]
    return list(numbers), index


def sort_key(ids: Sequence[int]) -> bytes:
    """Give bytes that sort as the token ids do and are equal exactly when they are."""
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
    """Give indices of `keys`, which must be sorted, cut into groups that are worth sharing a prefix.

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
