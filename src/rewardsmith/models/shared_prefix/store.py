"""Which texts begin alike, by token ids as bytes that sort as they do, and what those read before have left behind.

Every token of packed attention has the keys and values of its own row, windows or not, so they can be cut anywhere and
outlive the batch.

Shapes: H heads of keys, L tokens, D head size.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from rewardsmith.errors import ScoringError

TOKEN_BYTES = 4
MIN_SHARED_TOKENS = 8
# Fewer tokens cost less to compute than to look after.
SHORTEST_KEPT = 32
# The keys and values of a kept token cost a batch about as much as this part of a computed one.
KEPT_TOKENS = 16
Entry = TypeVar("Entry")
# Where a group starts in a packed sequence, the length of its prefix and of each branch.
Span = tuple[int, int, tuple[int, ...]]


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


Layers = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Keys:
    """The keys and values of one text, layer by layer in the order in which they attend. Shapes: [1, H, L, D] each."""

    layers: Layers

    def tensors(self) -> list[Tensor]:
        """Return every tensor."""
        return [tensor for pair in self.layers for tensor in pair]

    def cut(self, num_tokens: int) -> Keys:
        """Return those of the first tokens, as views."""
        return Keys([(key[:, :, :num_tokens], value[:, :, :num_tokens]) for key, value in self.layers])

    def followed_by(self, later: Layers) -> Keys:
        """Return these and the keys and values of the tokens after them, in memory of their own."""
        pairs = zip(self.layers, later, strict=True)
        return Keys([(torch.cat([k, own_k], 2), torch.cat([v, own_v], 2)) for (k, v), (own_k, own_v) in pairs])


@dataclass(eq=False)
class Memory:
    """What the groups of one packed batch go on from, and what is copied out of it, as its layers run.

    Args:
        before: per group, None where it begins anew.
        lengths: per group the tokens of `before`.
        wanted: per group how many of its first tokens are copied.
    """

    before: Sequence[Keys | None]
    lengths: tuple[int, ...]
    wanted: Sequence[int]
    copied: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)

    def extended(self, key: Tensor, value: Tensor, spans: Iterable[Span]) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the next layer, with those that its groups go on from before them.

        Raises:
            ScoringError: a gradient is asked for.
        """
        if torch.is_grad_enabled():
            raise ScoringError("kept prefixes have no gradient; score within torch.no_grad()")
        layer = len(self.copied)
        places = [slice(start, start + count) for (start, _, _), count in zip(spans, self.wanted, strict=False)]
        # Copies: a view would hold the whole batch.
        whole = torch.contiguous_format
        self.copied.append(
            [tuple(t[:, :, place].clone(memory_format=whole) for t in (key, value)) for place in places]  # type: ignore[misc]
        )
        kept = [keys.layers[layer] for keys in self.before if keys is not None]
        if not kept:
            return key, value
        keys, values = zip(*kept, (key, value), strict=True)
        return torch.cat([k.to(key.dtype) for k in keys], 2), torch.cat([v.to(value.dtype) for v in values], 2)

    def left(self, group: int) -> Keys:
        """Return the keys and values of a group's kept and copied tokens together."""
        own = [layer[group] for layer in self.copied]
        before = self.before[group]
        return Keys(own) if before is None else before.followed_by(own)
