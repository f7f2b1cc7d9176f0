"""Prefixes kept from one call to the next: a prompt that comes again, in another request, is not computed again.

What a row left behind is kept under its token ids, the least recently used going first. A later row goes on from the
entry that it shares most with: from a part of it where keys and values can be cut (plain attention), else from an entry
that is a whole prefix of it. Where an entry cannot be cut, the first row that shares a part of it computes that part as
a prefix of its own, which is kept.

Packed attention takes rows of any number of kept prefixes, and of none, in one batch. Forked caches go on prefix by
prefix.

Shapes: U rows, L tokens, D hidden.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from rewardsmith.capabilities import PrefixCounts
from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.forked import SHORTEST_REST, Rest, into_parts, plain_layers, rest_rows
from rewardsmith.models.shared_prefix.forward import batch_columns, core_model, head_columns, token_head
from rewardsmith.models.shared_prefix.layout import Keys, Memory
from rewardsmith.models.shared_prefix.packing import (
    TOKEN_BYTES,
    Sequences,
    count_tokens,
    distinct,
    fill_batches,
    num_shared_tokens,
    pack,
    shared_prefix_length,
    sort_key,
)
from rewardsmith.models.shared_prefix.past import Past
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.shared_prefix.states import empty_past

# Fewer tokens cost less to compute than to look after.
SHORTEST_KEPT = 32
Row = tuple[int, ...]
Entry = TypeVar("Entry")
# The keys and values of a kept token cost a batch about as much as this part of a computed one.
KEPT_TOKENS = 16


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


@dataclass(frozen=True)
class _Piece:
    """Rows that go on from one kept prefix, or from none.

    Args:
        wanted: how many tokens after the kept ones are to be kept.
    """

    rows: Sequence[Row]
    num_kept: int
    keys: Keys | None
    wanted: int

    @property
    def cost(self) -> int:
        """Return about how many computed tokens they are worth."""
        return count_tokens([row[self.num_kept :] for row in self.rows]) + self.num_kept // KEPT_TOKENS


class KeptPrefixes:
    """The rewards of a model that keeps prefixes between calls. One thread at a time may ask.

    Args:
        model: whose pasts are kept; a change of its weights forgets them.
        plan: how its prefixes are shared.
        max_tokens: tokens of all prefixes that are kept.

    Raises:
        ConfigError: the model cannot go on from a prefix, pools over all tokens, or has an adapter, which may change.
    """

    def __init__(self, model: nn.Module, plan: ForwardPlan, max_tokens: int) -> None:
        self.core = core_model(model)
        reason = ""
        if max_tokens < SHORTEST_KEPT:
            reason = f"{max_tokens} tokens hold none; {SHORTEST_KEPT} or more do"
        elif not (plan.way == "forked" or plan.forks):
            reason = f"it cannot go on from them ({plan.reason})"
        elif plan.longest is not None:
            reason = "its positions depend on the length of a text"
        elif getattr(self.core.config, "reward_pooling", "last") != "last":
            reason = "its reward pools over all tokens"
        elif hasattr(model, "peft_config"):
            reason = "its adapter may change: merge it with rewardsmith export"
        if reason:
            raise ConfigError(f"prefixes of this model cannot be kept: {reason}")
        self.plan, self.counts = plan, PrefixCounts()
        self.store: PrefixStore[Any] = PrefixStore(max_tokens)
        # Rows of which little was new: what another one shares with them is worth keeping.
        self._seen: PrefixStore[None] = PrefixStore(max_tokens)
        self._weights = -1

    def columns(self, groups: Sequence[Sequences], tokens_per_batch: int) -> list[list[list[float]]]:
        """Return what the head gives for every sequence of every group, the reward first."""
        self._forget_other_weights()
        unique = [distinct(group)[0] for group in groups if group]
        # FlexAttention takes no keys from elsewhere.
        packs = self.plan.way == "packed" and self.core.device.type == "cpu"
        found = self._packed(unique, tokens_per_batch) if packs else self._forked(unique, tokens_per_batch)
        self.counts.kept_tokens = self.store.num_tokens
        return [[found[tuple(sequence)] for sequence in group] for group in groups]

    def _packed(self, groups: Sequence[Sequence[Row]], limit: int) -> dict[Row, list[float]]:
        """Return the rewards of rows, those of all prefixes and of none packed together."""
        found: dict[Row, list[float]] = {}
        pieces = [piece for rows in groups for piece in self._pieces(rows, limit)]
        for members in fill_batches([piece.cost for piece in pieces], limit):
            found |= self._read_packed([pieces[number] for number in members])
        return found

    def _pieces(self, rows: Sequence[Row], limit: int) -> Iterator[_Piece]:
        """Yield the rows with what they go on from; one that goes on from more than all share stands alone."""
        shared = max(shared_prefix_length(rows), SHORTEST_KEPT - 1)
        ahead = [row for row in rows if len(rows) > 1 and self.store.closest(sort_key(row[:-1]))[0] > shared]
        together = [row for row in rows if row not in set(ahead)]
        for part in [*([row] for row in ahead), *([together] if together else [])]:
            start = part[0][: shared_prefix_length(part)] if len(part) > 1 else part[0][:-1]
            num_kept, entry = self.store.closest(sort_key(start))
            keys: Keys | None = None
            if num_kept >= SHORTEST_KEPT:
                past: Keys = self.store.past(entry)  # type: ignore[assignment]
                keys = past.cut(num_kept)
                self.counts.hits += len(part)
                self.counts.saved_tokens += num_kept
            else:
                num_kept = 0
            wanted = self._num_wanted(part, start, num_kept)
            room = limit - (len(start) - num_kept)
            for members in fill_batches([len(row) - len(start) for row in part], max(1, room)):
                yield _Piece([part[member] for member in members], num_kept, keys, wanted)
                wanted = 0

    def _num_wanted(self, rows: Sequence[Row], start: Row, num_kept: int) -> int:
        """Return how many tokens after what is kept of `start` are to be kept as well.

        An answer to a kept prompt is not, since answers would crowd prompts out; what two of them share is.
        """
        if len(rows) > 1:
            new = len(start) - num_kept
            return new if new >= SHORTEST_KEPT else 0
        new, key = len(rows[0]) - num_kept, sort_key(rows[0])
        if new > num_kept:
            return new
        again = self._seen.closest(key)[0] - num_kept
        if again >= SHORTEST_KEPT:
            return again
        self._seen.put(key, None)
        return 0

    def _read_packed(self, pieces: Sequence[_Piece]) -> dict[Row, list[float]]:
        """Return the rewards of one batch, and keep what it leaves."""
        memory = Memory(
            [piece.keys for piece in pieces],
            tuple(piece.num_kept for piece in pieces),
            [piece.wanted for piece in pieces],
        )
        rests = [[row[piece.num_kept :] for row in piece.rows] for piece in pieces]
        batch = pack(rests, pad_token_id=self.plan.pad_token_id, memory=memory)
        columns = batch_columns(self.core, replace(batch, narrows=self.plan.narrows).to(self.core.device)).tolist()
        for number, piece in enumerate(pieces):
            if piece.wanted:
                self.store.put(sort_key(piece.rows[0][: piece.num_kept + piece.wanted]), memory.left(number))
        return dict(zip((row for piece in pieces for row in piece.rows), columns, strict=True))

    def _forked(self, groups: Sequence[Sequence[Row]], tokens_per_batch: int) -> dict[Row, list[float]]:
        """Return the rewards of rows, prefix by prefix; rows that share nothing run together."""
        found: dict[Row, list[float]] = {}
        fresh: list[Row] = []
        for rows in groups:
            start = rows[0][: shared_prefix_length(rows)] if len(rows) > 1 else rows[0][:-1]
            if len(rows) > 1 or self.store.closest(sort_key(start))[0] >= SHORTEST_KEPT:
                found |= self._going_on(rows, start, tokens_per_batch)
            else:
                fresh += rows
        for part in into_parts([(0, row) for row in sorted(fresh, key=len)], tokens_per_batch) if fresh else ():
            found |= self._read(part, empty_past(self._backbone), 0)
        return found

    @property
    def _backbone(self) -> Any:
        return getattr(self.core, self.core.base_model_prefix)

    def _forget_other_weights(self) -> None:
        weights = sum(parameter._version for parameter in self.core.parameters())
        if weights != self._weights:
            self.store.clear()
            self._seen.clear()
        self._weights = weights

    def _hit(self, start: Row) -> tuple[int, Past | None]:
        """Return what is kept of a row's start: how many tokens, and what they left."""
        key = sort_key(start)
        shared, entry = self.store.closest(key)
        if shared >= SHORTEST_KEPT and (past := self.store.past(entry)) and (cut := past.cut(0, shared)):
            return shared, cut
        whole = self.store.longest_prefix(key)
        return (len(whole) // TOKEN_BYTES, self.store.past(whole)) if whole else (0, None)

    def _going_on(self, rows: Sequence[Row], start: Row, limit: int) -> dict[Row, list[float]]:
        """Return the rewards of rows that begin with `start`, from what is kept of it or what will be."""
        num_kept, past = self._hit(start)
        if past is not None:
            self.counts.hits += len(rows)
            self.counts.saved_tokens += num_kept
        wanted = len(start) if len(rows) > 1 else self.store.closest(sort_key(start))[0]
        if wanted - num_kept >= SHORTEST_REST:
            past = _copied(past) if past else empty_past(self._backbone)
            with plain_layers(self._backbone):
                past.read(self._backbone, torch.tensor([start[num_kept:wanted]], device=self.core.device))
            self._keep(past, 0, start[:wanted], num_kept)
            num_kept = wanted
        past = past or empty_past(self._backbone)
        rests = sorted(((0, row) for row in rows), key=lambda rest: len(rest[1]))
        found: dict[Row, list[float]] = {}
        for part in into_parts(rests, limit):
            found |= self._read(part, past, num_kept)
        return found

    def _read(self, rows: Sequence[Rest], past: Past, num_kept: int) -> dict[Row, list[float]]:
        """Return the rewards of rows that go on from `past`, which holds their first `num_kept` tokens."""
        rests = rest_rows([(0, row[num_kept:]) for _, row in rows], self.plan.pad_token_id)
        places = rests.last_U.to(self.core.device)
        past = past.forked(past.tensors(), rests.group_U.to(self.core.device))
        with plain_layers(self._backbone):
            hidden = past.read(self._backbone, rests.input_ids.to(self.core.device))
        head = token_head(self.core)
        assert head is not None
        rewards = head_columns(head, hidden[torch.arange(len(hidden), device=hidden.device), places]).tolist()
        if num_kept == 0 or len(rows) == 1:
            for place, (_, row) in enumerate(rows):
                self._keep(past, place, tuple(row), num_kept)
        return {tuple(row): reward for (_, row), reward in zip(rows, rewards, strict=True)}

    def _keep(self, past: Past, place: int, row: Row, num_kept: int) -> None:
        """Keep what a row left, unless most of it is kept already: answers to one prompt would crowd others out."""
        is_whole = len(past.tensors()[0]) == 1 and past.num_read == len(row)
        left = past if is_whole else past.cut(place, len(row))
        if len(row) - num_kept > num_kept or (left is not None and is_whole and past.cut(0, len(row)) is None):
            self.store.put(sort_key(row), _copied(left) if left else None)


def _copied(past: Past) -> Past:
    """Return a past of one row in memory of its own."""
    tensors = past.tensors()
    return past.forked(tensors, torch.zeros(1, dtype=torch.long, device=tensors[0].device))
