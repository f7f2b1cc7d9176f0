"""Where the segments of a packed batch lie, and the keys and values that its groups go on from.

Every token of packed attention has the keys and values of its own row, windows or not, so they can be cut anywhere and
outlive the batch.

Shapes: G groups, H heads of keys, L tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from rewardsmith.errors import ScoringError

Span = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class SegmentPlan:
    """Where a packed batch's causal segments and its (answers, prefix) pairs lie; made once a batch.

    Args:
        segments: queries that attend causally to as many keys, such as a prefix or an answer to itself.
        prefixes: queries that attend to all of these keys: per group all its answers' tokens, and the prefix's.
    """

    segments: tuple[tuple[slice, slice], ...]
    prefixes: tuple[tuple[slice, slice], ...]

    @classmethod
    def after(cls, num_read: int, num_tokens: int) -> SegmentPlan:
        """Plan for rows that go on from a cache: they see every token read before, and themselves causally."""
        own = slice(0, num_tokens)
        return cls(((own, slice(num_read, num_read + num_tokens)),), ((own, slice(0, num_read)),))

    @classmethod
    def of(cls, spans: Sequence[Span], kept: Sequence[int] = ()) -> SegmentPlan:
        """Plan for groups given as (start, prefix length, branch lengths).

        Args:
            kept: per group how many keys it goes on from; they stand before all others, in order of the groups.
        """
        num_kept = sum(kept)
        prefixes = [
            (slice(start + prefix, start + prefix + sum(branches)), _later(slice(start, start + prefix), num_kept))
            for start, prefix, branches in spans
            if prefix and branches
        ]
        before = 0
        for (start, prefix, branches), length in zip(spans, kept, strict=False):
            if length:
                prefixes.append((slice(start, start + prefix + sum(branches)), slice(before, before + length)))
            before += length
        return cls(tuple((own, _later(own, num_kept)) for own in _segments(spans)), tuple(prefixes))


def _segments(spans: Sequence[Span]) -> Iterator[slice]:
    """Yield the place of everything that attends to itself; padding is a prefix without branches."""
    for start, prefix, branches in spans:
        for length in (prefix, *branches):
            if length:
                yield slice(start, start + length)
            start += length


def _later(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


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


FLEX_BLOCK = 128


@dataclass(frozen=True)
class PrefixLayout:
    """Where the segments of a packed sequence lie.

    Args:
        groups: per group the length of the shared prefix and of each branch after it, in packing order.
        padding: tokens after the last group that belong to nobody (CUDA pads to a multiple of 128).
        queries_U: the only tokens whose attention is read; None where all are.
        memory: what the groups go on from; None where all begin anew. Its keys stand before those of the tokens.
    """

    groups: tuple[tuple[int, tuple[int, ...]], ...]
    padding: int = 0
    memory: Memory | None = field(default=None, compare=False)
    queries_U: Tensor | None = field(default=None, compare=False)
    _cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def num_tokens(self) -> int:
        """Packed length L, padding included."""
        return sum(prefix + sum(branches) for prefix, branches in self.groups) + self.padding

    @property
    def longest_sequence(self) -> int:
        """Length of the longest sequence, prefix and branch together."""
        kept = self.kept_lengths()
        lengths = (prefix + max(branches, default=0) for _, prefix, branches in self.spans())
        return max(map(sum, zip(lengths, kept, strict=True)), default=0)

    def kept_lengths(self) -> tuple[int, ...]:
        """Return how many tokens each of the `spans()` goes on from."""
        count = len(self.groups)
        return (self.memory.lengths if self.memory else (0,) * count) + (0,) * bool(self.padding)

    def spans(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Yield `(start, prefix length, branch lengths)` of every group; padding is a group without branches."""
        start = 0
        for prefix, branches in self.groups:
            yield start, prefix, branches
            start += prefix + sum(branches)
        if self.padding:
            yield start, self.padding, ()

    def token_labels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return `group_L, branch_L, position_L`: branch 0 is the prefix; positions restart after the prefix."""
        if "labels" not in self._cache:
            self._cache["labels"] = self._label_tokens()
        return self._cache["labels"]

    def _label_tokens(self) -> tuple[Tensor, Tensor, Tensor]:
        groups: list[int] = []
        branches: list[int] = []
        positions: list[int] = []
        for index, ((_, prefix, lengths), kept) in enumerate(zip(self.spans(), self.kept_lengths(), strict=True)):
            groups += [index] * (prefix + sum(lengths))
            branches += [0] * prefix
            positions += range(kept, kept + prefix)
            for branch, length in enumerate(lengths, start=1):
                branches += [branch] * length
                positions += range(kept + prefix, kept + prefix + length)
        return torch.tensor(groups), torch.tensor(branches), torch.tensor(positions)

    def dense_mask(self, window: int | None = None) -> Tensor:
        """Return the `[L, L]` boolean mask (query, key) that defines the attention; the reference for both paths.

        Columns of kept keys stand before the others.
        """
        return self._mask_of(torch.arange(self.num_tokens), window)

    def _mask_of(self, queries_Q: Tensor, window: int | None) -> Tensor:
        """Return `[Q, L]`: which tokens each of `queries_Q` sees."""
        group_L, branch_L, position_L = self.token_labels()
        group_Q, branch_Q, position_Q = (labels[queries_Q, None] for labels in (group_L, branch_L, position_L))
        mask = (group_Q == group_L) & ((branch_L == 0) | (branch_Q == branch_L))
        mask &= queries_Q[:, None] >= torch.arange(self.num_tokens)
        if window is not None:
            mask &= position_Q - position_L < window
        if self.memory is None:
            return mask
        kept = torch.tensor(self.kept_lengths())
        group_P = torch.repeat_interleave(torch.arange(len(kept)), kept)
        seen = group_Q == group_P
        if window is not None:
            seen &= position_Q - torch.cat([torch.arange(int(length)) for length in kept]) < window
        return torch.cat([seen, mask], dim=1)

    def block_mask(self, window: int | None, device: torch.device) -> BlockMask:
        """Return FlexAttention's BlockMask, built once per batch, window and device."""
        key = ("block", window, device)
        if key not in self._cache:
            self._cache[key] = self._build_block_mask(window, device)
        return self._cache[key]

    def _build_block_mask(self, window: int | None, device: torch.device) -> BlockMask:
        group_L, branch_L, position_L = (labels.to(device) for labels in self.token_labels())

        def attends(batch: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
            same = (group_L[q] == group_L[kv]) & ((branch_L[kv] == 0) | (branch_L[q] == branch_L[kv]))
            causal = same & (q >= kv)
            return causal if window is None else causal & (position_L[q] - position_L[kv] < window)

        length = self.num_tokens
        return create_block_mask(attends, None, None, length, length, device=str(device), BLOCK_SIZE=FLEX_BLOCK)

    def attending_from(self, queries_U: Tensor) -> PrefixLayout:
        """Return this layout, with the attention of `queries_U` alone to be read."""
        return replace(self, queries_U=queries_U)

    def has_few_queries(self) -> bool:
        """Whether all keys for the tokens that are read are fewer pairs than all tokens with the keys they see."""
        if self.queries_U is None:
            return False
        seen, kept = 0, self.kept_lengths()
        for (_, prefix, branches), before in zip(self.spans(), kept, strict=True):
            seen += prefix * prefix // 2 + sum(length * prefix + length * length // 2 for length in branches)
            seen += before * (prefix + sum(branches))
        return len(self.queries_U) * (self.num_tokens + sum(kept)) < seen

    def query_mask(self, window: int | None) -> Tensor:
        """Return the rows of `dense_mask` of the tokens that are read, `[U, L]`."""
        assert self.queries_U is not None
        return self._mask_of(self.queries_U.cpu(), window).to(self.queries_U.device)

    def segment_plan(self) -> SegmentPlan:
        """Return the CPU's plan of segments, made once a batch."""
        if "segments" not in self._cache:
            self._cache["segments"] = SegmentPlan.of(tuple(self.spans()), self.kept_lengths())
        return self._cache["segments"]

    def branch_mask(self, prefix: int, length: int, window: int | None, device: torch.device) -> Tensor:
        """Return the `[length, prefix + length]` mask of one branch, cached: many branches share a shape."""
        key = ("branch", prefix, length, window, device)
        if key not in self._cache:
            mask = torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)
            if window is not None:
                mask = mask.triu(prefix - window + 1)
            self._cache[key] = mask
        return self._cache[key]
