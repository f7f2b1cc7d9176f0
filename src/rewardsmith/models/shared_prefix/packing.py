"""Turn groups of token-id sequences into tensors: packed with a shared prefix, or deduplicated padded rows.

The shared prefix is the longest common prefix of the whole tokenised sequences, not the tokenised prompt: no border
can go wrong, prompts may be implicit, and the ids are those that separate rows would feed.

Shapes: G groups, B sequences asked for, U distinct sequences, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask

from rewardsmith.errors import TooLongError, answer_is_long
from rewardsmith.models.shared_prefix.store import Memory, Span

Sequences = Sequence[Sequence[int]]
Made = TypeVar("Made")
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

    def once(self, key: object, make: Callable[[], Made]) -> Made:
        """Return what `make` gives, made once a batch and kept under `key`."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

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

    def spans(self) -> Iterator[Span]:
        """Yield `(start, prefix length, branch lengths)` of every group; padding is a group without branches."""
        start = 0
        for prefix, branches in self.groups:
            yield start, prefix, branches
            start += prefix + sum(branches)
        if self.padding:
            yield start, self.padding, ()

    def token_labels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return `group_L, branch_L, position_L`: branch 0 is the prefix; positions restart after the prefix."""
        return self.once("labels", self._label_tokens)

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
        return self.once(("block", window, device), lambda: self._build_block_mask(window, device))

    def _build_block_mask(self, window: int | None, device: torch.device) -> BlockMask:
        group_L, branch_L, position_L = (labels.to(device) for labels in self.token_labels())

        def attends(batch: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
            same = (group_L[q] == group_L[kv]) & ((branch_L[kv] == 0) | (branch_L[q] == branch_L[kv]))
            causal = same & (q >= kv)
            return causal if window is None else causal & (position_L[q] - position_L[kv] < window)

        # Counted a row of blocks at a time: `create_block_mask` holds all pairs in memory unless it is compiled.
        index_L, pairs = torch.arange(self.num_tokens, device=device), []
        for queries_Q in index_L.split(FLEX_BLOCK):
            seen_QL = attends(queries_Q, queries_Q, queries_Q[:, None], index_L)
            seen_QL = functional.pad(seen_QL, (0, -self.num_tokens % FLEX_BLOCK))
            pairs.append(seen_QL.unflatten(1, (-1, FLEX_BLOCK)).sum((0, 2)))
        pairs_NN = torch.stack(pairs)
        is_full_NN = pairs_NN == FLEX_BLOCK**2
        blocks = (*_listed((pairs_NN > 0) & ~is_full_NN), *_listed(is_full_NN))
        return BlockMask.from_kv_blocks(*blocks, FLEX_BLOCK, attends, seq_lengths=(self.num_tokens, self.num_tokens))

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

    def branch_mask(self, prefix: int, length: int, window: int | None, device: torch.device) -> Tensor:
        """Return the `[length, prefix + length]` mask of one branch, cached: many branches share a shape."""

        def make() -> Tensor:
            mask = torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)
            return mask if window is None else mask.triu(prefix - window + 1)

        return self.once(("branch", prefix, length, window, device), make)


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
        row_U: of what row each `last_U` is; None where it is one a row (see `places`).
    """

    input_ids: Tensor
    attention_mask: Tensor
    last_U: Tensor
    recompute: bool = False
    row_U: Tensor | None = None


@dataclass(frozen=True)
class Rests:
    """What comes after the prefixes: `input_ids [U, L]`, the group of each row and the column of its last token."""

    input_ids: Tensor
    group_U: Tensor
    last_U: Tensor
    row_U: Tensor | None = None


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


def _listed(chosen_NN: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many blocks each row chooses `[1, 1, N]` and which, in order, before the others `[1, 1, N, N]`."""
    order_NN = chosen_NN.int().argsort(dim=1, descending=True, stable=True)
    return chosen_NN.sum(1, dtype=torch.int32)[None, None], order_NN.int()[None, None]


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


def cut_shared_start(sequences: Sequence[list[int]], limit: int) -> list[list[int]]:
    """Return token ids cut where all sequences are alike: whole dialogues say their prompt only by that.

    The first token, such as BOS or [CLS], stays.

    Raises:
        TooLongError: an answer, what follows the shared start, is too long by itself.
    """
    room = max(0, shared_prefix_length([tuple(ids) for ids in sequences]) - 1)
    excess = max(map(len, sequences)) - limit
    if excess > room:
        needed = {index: str(len(ids) - room) for index, ids in enumerate(sequences) if len(ids) - limit > room}
        own = {index: TooLongError(answer_is_long(tokens, limit), tokens) for index, tokens in needed.items()}
        longest = max(own.values(), key=lambda error: int(error.tokens))
        raise TooLongError(str(longest), longest.tokens, own)
    return [ids[:1] + ids[1 + excess :] if excess > 0 else ids for ids in sequences]
