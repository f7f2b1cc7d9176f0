"""Turn groups of token-id sequences into tensors: packed with a shared prefix, or deduplicated padded rows.

The shared prefix is the longest common prefix of the whole tokenised sequences, not the tokenised prompt, so no
tokenisation border can go wrong, prompts may be implicit, and the ids are those that separate rows would feed.

Shapes: G groups, B sequences asked for, U distinct sequences, L tokens.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewardsmith.models.shared_prefix.layout import Memory, PrefixLayout


@dataclass(frozen=True)
class PackedChunk:
    """Groups in one packed sequence: `input_ids [1, L]`, `position_ids [1, L]`, `last_U` index of each end."""

    input_ids: Tensor
    position_ids: Tensor
    last_U: Tensor
    layout: PrefixLayout


@dataclass(frozen=True)
class RowChunk:
    """Distinct sequences as right-padded rows: `input_ids [U, L]`, `attention_mask [U, L]`, `last_U` column.

    Args:
        recompute: compute these rows again in the backward pass, so that the memory of one chunk is held at a time.
    """

    input_ids: Tensor
    attention_mask: Tensor
    last_U: Tensor
    recompute: bool = False


@dataclass(frozen=True)
class Rests:
    """What comes after the prefixes: `input_ids [U, L]`, the group of each row and the column of its last token."""

    input_ids: Tensor
    group_U: Tensor
    last_U: Tensor


@dataclass(frozen=True)
class ForkedChunk:
    """Groups whose prefixes have one length: `prefix_ids [G, P]`, and their rests in parts that are computed in turn.

    Args:
        recompute: compute each part again in the backward pass, so that the memory of one part is held at a time.
    """

    prefix_ids: Tensor
    parts: tuple[Rests, ...]
    recompute: bool = False


@dataclass(frozen=True)
class FeatureChunk:
    """What the head reads, computed before: `features_UD`, of a frozen backbone."""

    features_UD: Tensor


Chunk = PackedChunk | RowChunk | ForkedChunk | FeatureChunk


@dataclass(frozen=True)
class RewardBatch:
    """What the model computes in one call, and how to get the rewards back in order.

    Args:
        chunks: computed one after the other; their distinct sequences are numbered through.
        sequence_B: for each sequence asked for, the number of its distinct sequence.
        logical_tokens: tokens of all sequences asked for, as separate unpadded rows would feed them.
        distinct_tokens: tokens that are computed, padding not counted.
        narrows: whether the last layer may be computed for the scored tokens alone.
        reads_text_B: the sequences asked for whose language-model loss is wanted too; None for none.
    """

    chunks: tuple[Chunk, ...]
    sequence_B: Tensor
    logical_tokens: int
    distinct_tokens: int
    narrows: bool = True
    reads_text_B: Tensor | None = None

    def to(self, device: torch.device | str) -> RewardBatch:
        """Move every tensor to `device`."""
        chunks = tuple(_moved(chunk, device) for chunk in self.chunks)
        return replace(self, chunks=chunks, sequence_B=self.sequence_B.to(device))


def _moved(chunk: Chunk | Rests, device: torch.device | str) -> Any:
    """Return the same kind of chunk with its tensors, and those of its parts, on `device`."""
    changes: dict[str, Any] = {k: v.to(device) for k, v in vars(chunk).items() if isinstance(v, Tensor)}
    if isinstance(chunk, ForkedChunk):
        changes["parts"] = tuple(_moved(part, device) for part in chunk.parts)
    return replace(chunk, **changes)


def count_tokens(sequences: Sequences, share: bool = True) -> int:
    """Return how many tokens a group costs: distinct tokens when the prefix is shared, else distinct rows."""
    unique, _ = distinct(sequences)
    repeated = shared_prefix_length(unique) * (len(unique) - 1) if share else 0
    return sum(map(len, unique)) - repeated


def pack(
    groups: Sequence[Sequences], *, pad_token_id: int = 0, pad_to: int = 1, memory: Memory | None = None
) -> RewardBatch:
    """Pack groups into one sequence in which every shared prefix stands once.

    Args:
        groups: per group the token ids of every full sequence, each of at least one token.
        pad_token_id: fills up to `pad_to`; such tokens attend to nothing of a group.
        pad_to: 1, or FLEX_BLOCK for FlexAttention.
        memory: what the sequences of each group go on from; they hold only what comes after it.
    """
    ids: list[int] = []
    last: list[int] = []
    spans, sequence_B = [], []
    for sequences in groups:
        unique, index = distinct(sequences)
        sequence_B += [len(last) + number for number in index]
        prefix = shared_prefix_length(unique)
        ids += unique[0][:prefix]
        for sequence in unique:
            ids += sequence[prefix:]
            last.append(len(ids) - 1)
        spans.append((prefix, tuple(len(sequence) - prefix for sequence in unique)))
    num_tokens = len(ids)
    padding = -num_tokens % pad_to
    layout = PrefixLayout(tuple(spans), padding, memory=memory)
    ids += [pad_token_id] * padding
    positions = layout.token_labels()[2]
    chunk = PackedChunk(torch.tensor([ids]), positions[None], torch.tensor(last), layout)
    logical = sum(len(sequence) for sequences in groups for sequence in sequences)
    return RewardBatch((chunk,), torch.tensor(sequence_B), logical, num_tokens)


def pad_rows(groups: Sequence[Sequences], *, pad_token_id: int, tokens_per_chunk: int | None = None) -> RewardBatch:
    """Turn groups into right-padded rows: distinct sequences only, sorted by length, chunked by padded tokens.

    Args:
        tokens_per_chunk: rows times longest row of a chunk stays within it (a longer row stands alone); None means
            one chunk. Chunks of rows with more tokens than that are computed again in the backward pass.
    """
    unique, index = distinct(sequence for sequences in groups for sequence in sequences)
    order = sorted(range(len(unique)), key=lambda i: (len(unique[i]), i))
    chunks, start = [], 0
    for end in range(1, len(order) + 1):
        full = end == len(order)
        if not full and tokens_per_chunk is not None:
            full = (end + 1 - start) * len(unique[order[end]]) > tokens_per_chunk
        if full:
            chunks.append(_pad([unique[i] for i in order[start:end]], pad_token_id))
            start = end
    computed = sum(map(len, unique))
    if tokens_per_chunk is not None and computed > tokens_per_chunk:
        chunks = [replace(chunk, recompute=True) for chunk in chunks]
    place = {number: position for position, number in enumerate(order)}
    logical = sum(len(sequence) for sequences in groups for sequence in sequences)
    sequence_B = torch.tensor([place[number] for number in index])
    return RewardBatch(tuple(chunks), sequence_B, logical, computed)


def _pad(rows: Sequence[tuple[int, ...]], pad_token_id: int) -> RowChunk:
    length = max(map(len, rows))
    input_ids = torch.full((len(rows), length), pad_token_id)
    attention_mask = torch.zeros((len(rows), length), dtype=torch.long)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.tensor(row)
        attention_mask[number, : len(row)] = 1
    return RowChunk(input_ids, attention_mask, torch.tensor([len(row) - 1 for row in rows]))


def fill_batches(costs: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Put items into batches of at most `tokens_per_batch` tokens, in order; a larger item stands alone.

    Nothing is ever dropped: every index appears exactly once.
    """
    batches: list[list[int]] = []
    room = 0
    for index, cost in enumerate(costs):
        if not batches or cost > room:
            batches.append([])
            room = tokens_per_batch
        batches[-1].append(index)
        room -= cost
    return batches


Sequences = Sequence[Sequence[int]]
# The keys and values of a kept token cost a batch about as much as this part of a computed one.
KEPT_TOKENS = 16
MIN_SHARED_TOKENS = 8
TOKEN_BYTES = 4


def shared_prefix_length(sequences: Sequences) -> int:
    """Return how many leading tokens all sequences share, leaving each at least its last token.

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
    """Return the distinct sequences in order of first appearance and, for each input, which one it is."""
    numbers: dict[tuple[int, ...], int] = {}
    index = [numbers.setdefault(tuple(sequence), len(numbers)) for sequence in sequences]
    return list(numbers), index


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
