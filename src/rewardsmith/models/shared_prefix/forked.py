"""The forked cache: a prefix runs once, and every completion goes on from its keys, values and states.

Packed attention shares a prefix only where every layer is plain attention. Layers that carry a state (gated delta rule,
Mamba, short convolutions) and attention with code of its own go on from a cache instead, exactly as in
generation, but with the gradient: the prefix of a group runs with a cache, the cache is copied by index for every
completion, and the rests run as rows on it (`past.py`).

Rests stand right-padded without a mask: a token never sees those after it.

Shapes: G groups of one prefix length P, U distinct sequences, L tokens of the longest rest, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rewardsmith.models.compiling import repeated_layers, uncompiled
from rewardsmith.models.shared_prefix.packing import (
    Chunk,
    ForkedChunk,
    Rests,
    RewardBatch,
    Sequences,
    distinct,
    pad_rows,
    shared_prefix_length,
)
from rewardsmith.models.shared_prefix.past import Past
from rewardsmith.models.shared_prefix.states import empty_past

# Groups run together when their prefixes agree in length but for fewer tokens than this; the difference is repeated.
PREFIX_STEP = 16
# A shorter prefix costs more as a pass of its own than it saves.
SHORTEST_PREFIX = 4
# Models take a path for one token that writes states in place.
SHORTEST_REST = 2
# A part of like lengths is worth a pass of its own from this many tokens on, where padding would add this factor.
SMALLEST_PART, MOST_PADDING = 256, 1.25

# The copied keys and values of a prefix's token take about a sixth of the memory of what a computed token keeps.
FORKED_TOKENS = 6

Place = tuple[int, int]
Rest = tuple[int, Sequence[int]]


def last_hidden(backbone: Any, chunk: ForkedChunk, *, recompute: bool) -> Iterator[tuple[Tensor, Tensor, Rests]]:
    """Yield the hidden states of the prefixes, of the rests, and the rests, part by part.

    Args:
        backbone: any decoder that goes on from a past.
        recompute: compute every pass again in the backward pass instead of keeping what is between.

    Shapes: -> `[G, P, D]`, `[U, L, D]`.
    """
    left: list[Past] = []

    def read_prefix(ids: Tensor) -> tuple[Tensor, ...]:
        past = empty_past(backbone)
        with plain_layers(backbone):
            hidden = past.read(backbone, ids)
        left[:] = [past]
        return (hidden, *past.tensors())

    def read_rests(ids: Tensor, group_U: Tensor, *tensors: Tensor) -> Tensor:
        with plain_layers(backbone):
            return left[0].forked(tensors, group_U).read(backbone, ids)

    keeps_graph = torch.is_grad_enabled()
    prefix, *tensors = _passed(read_prefix, recompute and keeps_graph, chunk.prefix_ids)
    for part in chunk.parts:
        again = keeps_graph and (recompute or chunk.recompute)
        yield prefix, _passed(read_rests, again, part.input_ids, part.group_U, *tensors), part


def _passed(function: Any, recompute: bool, *inputs: Tensor) -> Any:
    return checkpoint(function, *inputs, use_reentrant=False) if recompute else function(*inputs)


@contextmanager
def plain_layers(backbone: nn.Module) -> Iterator[None]:
    """Switch layer-wise checkpoints off, where transformers drops the cache, and compiled layers, which guard on it."""
    switched = [m for m in backbone.modules() if getattr(m, "gradient_checkpointing", False)]
    for module in switched:
        module.gradient_checkpointing = False  # type: ignore[assignment]
    try:
        with uncompiled(repeated_layers(backbone)):
            yield
    finally:
        for module in switched:
            module.gradient_checkpointing = True  # type: ignore[assignment]


@dataclass(frozen=True)
class ForkedLayout:
    """How groups become forked chunks.

    Args:
        pad_token_id: fills rows up.
        tokens_per_part: distinct tokens that are held at a time; a group above it is computed in parts. None: no limit.
        longest: sequences longer than this many tokens become rows of their own: rotary positions that depend on the
            length are those of a prefix only up to here. None for no limit.
    """

    pad_token_id: int
    tokens_per_part: int | None = None
    longest: int | None = None


def fork_groups(groups: Sequence[Sequences], layout: ForkedLayout) -> RewardBatch:
    """Turn groups into forked chunks, and into rows where nothing is shared.

    Groups whose prefixes are nearly of one length run together: the longer prefixes are cut, and the few tokens that
    are cut off stand in each rest.

    Args:
        groups: per group the token ids of every full sequence, each of at least one token.
    """
    found = [distinct(sequences) for sequences in groups]
    unique = [sequences for sequences, _ in found]
    shared: list[tuple[int, int]] = []
    alone: list[Place] = []
    for number, sequences in enumerate(unique):
        prefix = shared_prefix_length(sequences)
        if prefix < SHORTEST_PREFIX or _is_too_long(sequences, layout.longest):
            alone += [(number, index) for index in range(len(sequences))]
        else:
            shared.append((prefix, number))
    chunks: list[Chunk] = []
    place_of: dict[Place, int] = {}
    computed = 0
    for prefix, numbers in _buckets(shared):
        chunk, order = _forked_chunk([unique[number] for number in numbers], prefix, layout)
        place_of |= {(numbers[group], index): len(place_of) + at for at, (group, index) in enumerate(order)}
        chunks.append(chunk)
        computed += chunk.prefix_ids.numel() + sum(len(unique[numbers[g]][k]) - prefix for g, k in order)
    for places in _rows_that_may_meet(alone, unique, layout.longest):
        rows = pad_rows(
            [[unique[number][index] for number, index in places]],
            pad_token_id=layout.pad_token_id,
            tokens_per_chunk=layout.tokens_per_part,
        )
        offset = sum(len(part.last_U) for chunk in chunks for part in _parts(chunk))
        place_of |= dict(zip(places, (offset + rows.sequence_B).tolist(), strict=True))
        chunks += rows.chunks
        computed += rows.distinct_tokens
    sequence_B = [place_of[number, index] for number, (_, indices) in enumerate(found) for index in indices]
    logical = sum(len(sequence) for sequences in groups for sequence in sequences)
    return RewardBatch(tuple(chunks), torch.tensor(sequence_B), logical, computed)


def _parts(chunk: Chunk) -> tuple[Any, ...]:
    return chunk.parts if isinstance(chunk, ForkedChunk) else (chunk,)


def _is_too_long(sequences: Sequences, longest: int | None) -> bool:
    return longest is not None and max(map(len, sequences)) > longest


def _rows_that_may_meet(places: list[Place], unique: Sequence[Sequences], longest: int | None) -> Iterator[list[Place]]:
    """Yield rows that one chunk may hold: where positions depend on the length, a long row stands alone."""
    short = [place for place in places if not _is_too_long([unique[place[0]][place[1]]], longest)]
    if short:
        yield short
    yield from ([place] for place in places if place not in set(short))


def _buckets(shared: list[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """Yield (prefix length, groups): groups whose prefixes have like lengths, cut to a common one."""
    by_step: dict[int, list[tuple[int, int]]] = {}
    for prefix, number in shared:
        by_step.setdefault(prefix // PREFIX_STEP, []).append((prefix, number))
    for members in by_step.values():
        yield min(prefix for prefix, _ in members), [number for _, number in members]


def _forked_chunk(groups: Sequence[Sequences], prefix: int, layout: ForkedLayout) -> tuple[ForkedChunk, list[Place]]:
    """Return the chunk of groups that share `prefix` tokens each, and whose row stands where: (group, sequence)."""
    order = [(number, index) for number, sequences in enumerate(groups) for index in range(len(sequences))]
    order.sort(key=lambda place: len(groups[place[0]][place[1]]))
    rests = [(number, groups[number][index][prefix:]) for number, index in order]
    prefix_ids = torch.tensor([list(sequences[0][:prefix]) for sequences in groups])
    limit = layout.tokens_per_part
    total = prefix_ids.numel() + sum(len(rest) for _, rest in rests)
    parts = tuple(rest_rows(part, layout.pad_token_id) for part in into_parts(rests, limit, prefix))
    return ForkedChunk(prefix_ids, parts, limit is not None and total > limit), order


def into_parts(rests: Sequence[Rest], limit: int | None, prefix: int = 0) -> Iterator[list[Rest]]:
    """Yield runs of rests (sorted by length) that waste little padding and stay within `limit` padded tokens.

    Args:
        prefix: tokens whose keys and values every rest is given a copy of.
    """
    part: list[Rest] = []
    tokens = 0
    for rest in rests:
        padded = (len(part) + 1) * len(rest[1])
        wasteful = padded > MOST_PADDING * (tokens + len(rest[1])) and tokens >= SMALLEST_PART
        copied = (len(part) + 1) * prefix // FORKED_TOKENS
        if part and (wasteful or (limit is not None and padded + copied > limit)):
            yield part
            part, tokens = [], 0
        part.append(rest)
        tokens += len(rest[1])
    yield part


def rest_rows(rests: Sequence[Rest], pad_token_id: int) -> Rests:
    """Turn (group, rest) pairs into right-padded rows. Shapes: U = len(rests)."""
    length = max(SHORTEST_REST, *(len(rest) for _, rest in rests))
    input_ids = torch.full((len(rests), length), pad_token_id)
    for row, (_, rest) in enumerate(rests):
        input_ids[row, : len(rest)] = torch.tensor(rest)
    groups = torch.tensor([group for group, _ in rests])
    return Rests(input_ids, groups, torch.tensor([len(rest) - 1 for _, rest in rests]))
