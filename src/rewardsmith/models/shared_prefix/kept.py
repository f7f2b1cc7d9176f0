"""Prefixes kept from one call to the next: a prompt that comes again, in another request, is not computed again.

What a row left behind is kept under its token ids, the least recently used going first. A later row goes on from the
entry that it shares most with: from a part of it where keys and values can be cut (plain attention), else from an entry
that is a whole prefix of it. Where an entry cannot be cut, the first row that shares a part of it computes that part as
a prefix of its own, which is kept.

Packed attention takes rows of any number of kept prefixes, and of none, in one batch. Forked caches go on together from
all prefixes of one length, so prefixes are kept at lengths that many have: the few tokens beyond stand in each rest.

Shapes: U rows, H heads of keys, L tokens, D hidden, or the size of a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rewardsmith.capabilities import PrefixCounts
from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.exactness import check_forked
from rewardsmith.models.shared_prefix.forked import SHORTEST_REST, Rest, into_parts, plain_layers, rest_rows
from rewardsmith.models.shared_prefix.forward import batch_columns, core_model, head_columns, token_head
from rewardsmith.models.shared_prefix.packing import (
    Sequences,
    count_tokens,
    distinct,
    fill_batches,
    pack,
    shared_prefix_length,
)
from rewardsmith.models.shared_prefix.past import Past
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.shared_prefix.states import empty_past
from rewardsmith.models.shared_prefix.store import (
    KEPT_TOKENS,
    SHORTEST_KEPT,
    TOKEN_BYTES,
    Keys,
    Memory,
    PrefixStore,
    sort_key,
)

# Forked caches are kept at multiples of so many tokens.
KEPT_STEP = 8
Row = tuple[int, ...]


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


@dataclass
class _Begun:
    """Rows that begin alike, with what is kept of their start.

    Args:
        start: what all of them begin with.
        num_kept, past: its tokens that are kept, and what they left; None where none are.
        wanted: its tokens that should be.
    """

    rows: Sequence[Row]
    start: Row
    num_kept: int
    past: Past | None
    wanted: int


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
            reason = f"it cannot go on from them ({check_forked(self.core) or plan.reason})"
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
        # Rows that left nothing, or little that was new: what another one shares with them is worth keeping.
        self._seen: PrefixStore[None] = PrefixStore(max_tokens)
        self._weights = _Weights(self.core)

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
        """Return the rewards of rows: what prefixes lack is read first, then the rests behind those of one length."""
        asked = [self._begun(rows) for rows in groups]
        self._read_prefixes([one for one in asked if one.wanted > one.num_kept], tokens_per_batch)
        found: dict[Row, list[float]] = {}
        for alike in _alike(asked):
            rests = [(number, row[one.num_kept :]) for number, one in enumerate(alike) for row in one.rows]
            rests.sort(key=lambda rest: len(rest[1]))
            for part in into_parts(rests, tokens_per_batch, alike[0].num_kept):
                found |= self._read(part, alike)
        return found

    def _begun(self, rows: Sequence[Row]) -> _Begun:
        """Return the rows of a group with what is kept of their start, and how much of it should be."""
        start = rows[0][: shared_prefix_length(rows)] if len(rows) > 1 else rows[0][:-1]
        num_kept, past = self._hit(start)
        if past is not None:
            self.counts.hits += len(rows)
            self.counts.saved_tokens += num_kept
        seen = max(store.closest(sort_key(start))[0] for store in (self.store, self._seen))
        shared = len(start) if len(rows) > 1 else seen
        wanted = _whole_steps(shared) if len(rows) > 1 or shared >= SHORTEST_KEPT else 0
        return _Begun(rows, start, num_kept, past, wanted if wanted - num_kept >= SHORTEST_REST else num_kept)

    def _read_prefixes(self, asked: Sequence[_Begun], limit: int) -> None:
        """Read on to the wanted tokens of prefixes, and keep what that leaves."""
        by_length: dict[int, list[_Begun]] = {}
        for one in asked:
            by_length.setdefault(one.wanted, []).append(one)
        for wanted, same in by_length.items():
            for alike in _alike(same):
                size = max(1, limit // (wanted - alike[0].num_kept))
                for part in (alike[place : place + size] for place in range(0, len(alike), size)):
                    past = self._joined(part, range(len(part)))
                    ids = [one.start[one.num_kept : wanted] for one in part]
                    with plain_layers(self._backbone):
                        past.read(self._backbone, torch.tensor(ids, device=self.core.device))
                    for place, one in enumerate(part):
                        one.past, before = _one_row(past, place), one.num_kept
                        one.num_kept = wanted
                        self._keep(past, place, one.start[:wanted], before)

    @property
    def _backbone(self) -> Any:
        return getattr(self.core, self.core.base_model_prefix)

    def _forget_other_weights(self) -> None:
        if self._weights.have_changed():
            self.store.clear()
            self._seen.clear()

    def _joined(self, asked: Sequence[_Begun], numbers: Sequence[int]) -> Past:
        """Return one past of a row for each number, which names what it goes on from; all are of one length."""
        used = sorted(set(numbers))
        pasts = [asked[number].past for number in used]
        rows = torch.tensor([used.index(number) for number in numbers], device=self.core.device)
        known = [past for past in pasts if past is not None]
        if not known:
            return empty_past(self._backbone)
        tensors = [torch.cat(same) for same in zip(*(past.tensors() for past in known), strict=True)]
        return known[0].forked(tensors, rows)

    def num_kept(self, key: bytes) -> int:
        """Return how many first tokens of a row, as its `sort_key`, are kept."""
        shared = self.store.closest(key[:-TOKEN_BYTES])[0]
        if shared < SHORTEST_KEPT:
            return 0
        if self.plan.way == "packed":
            return shared
        return len(self.store.longest_prefix(key[:-TOKEN_BYTES])) // TOKEN_BYTES

    def _hit(self, start: Row) -> tuple[int, Past | None]:
        """Return what is kept of a row's start: how many tokens, and what they left."""
        key = sort_key(start)
        shared, entry = self.store.closest(key)
        # A past that can be cut is, to a length that others have as well.
        size = _whole_steps(shared)
        if size >= SHORTEST_KEPT and (past := self.store.past(entry)) and (cut := past.cut(0, size)):
            return size, cut
        whole = self.store.longest_prefix(key)
        return (len(whole) // TOKEN_BYTES, self.store.past(whole)) if whole else (0, None)

    def _read(self, part: Sequence[Rest], alike: Sequence[_Begun]) -> dict[Row, list[float]]:
        """Return the rewards of rests, each of which goes on from what is kept for its number."""
        rests = rest_rows(part, self.plan.pad_token_id)
        places = rests.last_U.to(self.core.device)
        past = self._joined(alike, rests.group_U.tolist())
        with plain_layers(self._backbone):
            hidden = past.read(self._backbone, rests.input_ids.to(self.core.device))
        head = token_head(self.core)
        assert head is not None
        rewards = head_columns(head, hidden[torch.arange(len(hidden), device=hidden.device), places]).tolist()
        num_kept = alike[0].num_kept
        rows = [(*alike[number].start[:num_kept], *rest) for number, rest in part]
        for place, (number, _) in enumerate(part):
            if num_kept == 0 or len(alike[number].rows) == 1:
                self._keep(past, place, rows[place], num_kept)
        return dict(zip(rows, rewards, strict=True))

    def _keep(self, past: Past, place: int, row: Row, num_kept: int) -> None:
        """Keep what a row left, unless most of it is kept already: answers to one prompt would crowd others out."""
        # The padding of a shorter row is in its states.
        left, is_whole = past.cut(place, len(row)), past.num_read == len(row)
        if len(row) - num_kept <= num_kept and (left is not None or not is_whole):
            return
        if left is None and is_whole:
            left = _one_row(past, place)
        if left is None:
            # The next one that shares its start is worth keeping.
            self._seen.put(sort_key(row), None)
        else:
            self.store.put(sort_key(row), _copied(left))


class _Weights:
    """The weights of a model, which tell whether they have changed since they were last asked.

    Torch counts changes in place, and what takes a weight's stead lies elsewhere. What is written through `.data`, as
    merging an adapter does, shows in the values alone: one of each weight is looked at, in one copy from each device.
    """

    def __init__(self, core: nn.Module) -> None:
        self._core = core
        self._places: tuple[object, ...] = ()
        self._looked_at: list[list[Tensor]] = []
        self._values: list[list[float]] = []

    def have_changed(self) -> bool:
        """Whether they have changed since the last call; the first one says yes."""
        places = tuple((weight.data_ptr(), weight.dtype, weight._version) for weight in self._core.parameters())
        have_moved = places != self._places
        if have_moved:
            self._places, self._looked_at = places, _one_value_each(self._core.parameters())
        values = [torch.stack(views).float().tolist() for views in self._looked_at]
        have_changed = have_moved or values != self._values
        self._values = values
        return have_changed


def _one_value_each(weights: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return views of the middle value of each weight, those of one device and precision together."""
    views: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for weight in weights:
        if weight.numel() and not weight.is_meta:
            view = weight.detach()[tuple(size // 2 for size in weight.shape)]
            views.setdefault((weight.device, weight.dtype), []).append(view)
    return list(views.values())


def _whole_steps(num_tokens: int) -> int:
    """Return a length that many prefixes have."""
    return num_tokens - num_tokens % KEPT_STEP if num_tokens >= SHORTEST_KEPT else num_tokens


def _alike(asked: Sequence[_Begun]) -> Iterator[list[_Begun]]:
    """Yield what goes on from pasts of one length and form."""
    found: dict[tuple[object, ...], list[_Begun]] = {}
    for one in asked:
        shapes = () if one.past is None else tuple(tensor.shape[1:] for tensor in one.past.tensors())
        found.setdefault((one.num_kept, *shapes), []).append(one)
    yield from found.values()


def _one_row(past: Past, place: int) -> Past:
    """Return the past of one row."""
    return past.holding([tensor[place : place + 1] for tensor in past.tensors()])


def _copied(past: Past) -> Past:
    """Return a past of one row in memory of its own."""
    tensors = past.tensors()
    return past.forked(tensors, torch.zeros(1, dtype=torch.long, device=tensors[0].device))
