"""Read several tokens of a sequence in one forward: the ends of the steps of a solution.

A batch is computed as ever, with every distinct token once; only what the head reads of it is another. A token inside
a shared prefix is read once for all sequences that share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from rewardsmith.models.shared_prefix.packing import (
    Chunk,
    FeatureChunk,
    ForkedChunk,
    PackedChunk,
    Rests,
    RewardBatch,
    RowChunk,
)

# Where a token lies: its row and column; packed chunks have one row.
Spot = tuple[int, int]


@dataclass
class _Part:
    """Rows that are computed together, and what is read of them: a chunk, or a part of a forked one.

    Args:
        starts: of every distinct sequence where its first token after the prefix lies.
        prefixes: where the first token of its prefix lies, and how many tokens that has; None for a sequence alone.
        wanted: the tokens that are read, in order, each with its number.
    """

    starts: list[Spot]
    prefixes: list[tuple[int, int]]
    wanted: dict[Spot, int] = field(default_factory=dict)

    def number(self, sequence: int, place: int) -> int:
        """Return the number of a sequence's token among those that are read."""
        (row, start), (before, length) = self.starts[sequence], self.prefixes[sequence]
        spot = (row, before + place) if place < length else (row, start + place - length)
        return self.wanted.setdefault(spot, len(self.wanted))

    def rows_and_columns(self) -> tuple[Tensor, Tensor]:
        """Return row and column of each token that is read."""
        found = torch.tensor(list(self.wanted))
        return found[:, 0], found[:, 1]


def reading(batch: RewardBatch, places: Sequence[Sequence[int]]) -> RewardBatch:
    """Return the same batch with tokens within the sequences read in place of their last ones.

    Args:
        batch: as `ForwardPlan.batch` makes it.
        places: for each sequence asked for the tokens that are read, one at least, counted from its start.

    Returns:
        A batch whose `sequence_B` numbers what is read: all places of the first sequence, then those of the second.
    """
    parts = [part for chunk in batch.chunks for part in _parts(chunk)]
    home = [(part, index) for part in parts for index in range(len(part.starts))]
    asked = [
        (part, part.number(index, place))
        for number, own in zip(batch.sequence_B.tolist(), places, strict=True)
        for part, index in [home[number]]
        for place in own
    ]
    offsets, total = dict[int, int](), 0
    for part in parts:
        offsets[id(part)], total = total, total + len(part.wanted)
    left = iter(parts)
    chunks = tuple(_read(chunk, left) for chunk in batch.chunks)
    return replace(batch, chunks=chunks, sequence_B=torch.tensor([offsets[id(part)] + at for part, at in asked]))


def _parts(chunk: Chunk) -> Iterator[_Part]:
    assert not isinstance(chunk, FeatureChunk), "features are of the last tokens"
    if isinstance(chunk, PackedChunk):
        starts, prefixes = [], []
        for start, prefix, branches in chunk.layout.spans():
            end = start + prefix
            for length in branches:
                starts.append((0, end))
                prefixes.append((start, prefix))
                end += length
        yield _Part(starts, prefixes)
    elif isinstance(chunk, ForkedChunk):
        length = chunk.prefix_ids.shape[1]
        for part in chunk.parts:
            rows = range(len(part.input_ids))
            # Columns of the prefix count from its end, below 0.
            yield _Part([(row, 0) for row in rows], [(-length, length) for _ in rows])
    else:
        rows = range(len(chunk.input_ids))
        yield _Part([(row, 0) for row in rows], [(0, 0) for _ in rows])


def _read(chunk: Chunk, parts: Iterator[_Part]) -> Chunk:
    if isinstance(chunk, ForkedChunk):
        return replace(chunk, parts=tuple(_read_rows(part, next(parts)) for part in chunk.parts))
    if isinstance(chunk, PackedChunk):
        return replace(chunk, last_U=next(parts).rows_and_columns()[1])
    assert isinstance(chunk, RowChunk)
    return _read_rows(chunk, next(parts))


Rows = TypeVar("Rows", RowChunk, Rests)


def _read_rows(rows: Rows, part: _Part) -> Rows:
    row_U, last_U = part.rows_and_columns()
    return replace(rows, row_U=row_U, last_U=last_U)


def states_of_rests(prefix: Tensor, hidden: Tensor, rests: Rests) -> Tensor:
    """Return the hidden states that are read of rests and of their prefixes, whose columns lie below 0.

    Shapes: prefix [G, P, D], hidden [U, L, D] -> [places, D].
    """
    assert rests.row_U is not None
    before = prefix[rests.group_U[rests.row_U], rests.last_U.clamp_max(-1)]
    return torch.where((rests.last_U < 0)[:, None], before, hidden[rests.row_U, rests.last_U.clamp_min(0)])


def is_token_classifier(core: object) -> bool:
    """Whether a model gives classes of tokens, as one that judges steps does, and not one reward of a text."""
    return "ForTokenClassification" in type(core).__name__
