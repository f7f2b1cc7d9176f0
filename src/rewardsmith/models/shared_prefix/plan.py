"""How rewards are computed: packed, over forked caches, or as rows; and of any number of groups, batch by batch.

Packed attention is the first choice: it wastes nothing. Where it is not exact a prefix may still be shared by forking
the cache; else distinct rows are computed. What is exact is decided once, see `exactness`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.shared_prefix import packing
from rewardsmith.models.shared_prefix.exactness import (
    check_forked,
    longest_shared,
    padded_to,
    reason_not_to_pack,
    reason_not_to_share,
    switch_attention,
)
from rewardsmith.models.shared_prefix.forked import ForkedLayout, fork_groups
from rewardsmith.models.shared_prefix.forward import batch_features, core_model, has_token_head, install_forward
from rewardsmith.models.shared_prefix.packing import RewardBatch, Sequences, distinct, shared_prefix_length
from rewardsmith.models.shared_prefix.places import reading
from rewardsmith.models.shared_prefix.varlen_check import gather_where_exact
from rewardsmith.models.zero3 import gathered_in_turn

if TYPE_CHECKING:
    from rewardsmith.models.shared_prefix.kept import KeptPrefixes

logger = logging.getLogger(__name__)

Way = Literal["packed", "forked", "rows"]


@dataclass(frozen=True)
class ForwardPlan:
    """How a model's rewards are computed.

    Args:
        way: "packed", "forked" or "rows".
        reason: why it is not a better way; "exact" for packed.
        pad_to: packed sequences are filled up to a multiple of this.
        narrows: whether the last layer may be computed for the scored tokens alone.
        forks: whether a group above the token budget can go over a forked cache.
        longest: where positions depend on the length, the longest sequence that may share a prefix or stand in a batch
            with others, in tokens.
    """

    way: Way
    reason: str
    pad_token_id: int = 0
    pad_to: int = 1
    narrows: bool = True
    forks: bool = False
    longest: int | None = None
    in_chunks: bool = True

    @property
    def share(self) -> bool:
        """Whether prefixes are computed once."""
        return self.way != "rows"

    def batch(
        self,
        groups: Sequence[Sequences],
        tokens_per_chunk: int | None = None,
        places: Sequence[Sequence[int]] | None = None,
    ) -> RewardBatch:
        """Turn groups of token ids into the tensors of one forward.

        Args:
            tokens_per_chunk: tokens whose memory is held at a time; None for no limit. Packed groups within it stay one
                chunk; a single group above it goes over the forked cache, where the model can.
            places: for each sequence the tokens that are read; None reads the last of each.
        """
        batch = self._batch(groups, tokens_per_chunk)
        return batch if places is None else reading(batch, places)

    def _batch(self, groups: Sequence[Sequences], tokens_per_chunk: int | None) -> RewardBatch:
        tokens_per_chunk = tokens_per_chunk if self.in_chunks else None
        layout = ForkedLayout(self.pad_token_id, tokens_per_chunk, self.longest)
        if self.way == "rows" and self.longest is not None:
            groups = [[sequence] for group in groups for sequence in group]
        if self.way == "forked" or (self.way == "rows" and self.longest is not None):
            return fork_groups(groups, layout)
        if self.way == "rows":
            return packing.pad_rows(groups, pad_token_id=self.pad_token_id, tokens_per_chunk=tokens_per_chunk)
        if self.forks and tokens_per_chunk is not None and len(groups) == 1 and self.cost(groups[0]) > tokens_per_chunk:
            return fork_groups(groups, layout)
        packed = packing.pack(groups, pad_token_id=self.pad_token_id, pad_to=self.pad_to)
        return replace(packed, narrows=self.narrows)

    def cost(self, sequences: Sequences) -> int:
        """Return how many tokens a group costs under this plan."""
        return packing.count_tokens(sequences, self.share)


def prepare_model(model: nn.Module, share: bool | None = None, *, trains: bool | None = None) -> ForwardPlan:
    """Install the reward forward on `model` and decide how its prefixes are shared.

    Args:
        model: any sequence classifier with one label, also inside PEFT.
        share: None decides; False computes separate rows; True insists.
        trains: whether it will be in training mode, where dropout acts; None: as it is now.

    Raises:
        ConfigError: `share=True` for a model where sharing cannot be exact; the message says why.
    """
    core = core_model(model)
    install_forward(core)
    text_config = core.config.get_text_config()
    pad_token_id = getattr(text_config, "pad_token_id", None) or 0
    longest = longest_shared(text_config) if has_token_head(core) else None
    plan = ForwardPlan("rows", "prefix sharing was switched off", pad_token_id, padded_to(core), longest=longest)
    if share is False:
        return plan
    never = reason_not_to_share(core, trains=core.training if trains is None else trains)
    not_packed = never or reason_not_to_pack(core)
    narrows = True
    with _turn_of(core), gathered_in_turn(core):
        if not not_packed:
            not_packed, narrows = switch_attention(core)
        if not not_packed:
            gather_where_exact(core, narrows)
        not_forked = never or check_forked(core)
    if not not_packed:
        return replace(plan, way="packed", reason="exact", narrows=narrows, forks=not not_forked)
    if not not_forked:
        return replace(plan, way="forked", reason=not_packed)
    if share:
        raise ConfigError(f"prefixes cannot be shared exactly: {not_packed}; leave share_prefix on 'auto'")
    return replace(plan, reason=not_packed if never else f"{not_packed}; over a forked cache, {not_forked}")


# How many token budgets of rows are sorted by length together: enough to waste little padding, little to hold.
SORT_WINDOW = 16
Value = TypeVar("Value")
_LOCK = threading.Lock()
_TURNS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


def compute_rewards(
    model: nn.Module,
    groups: Sequence[Sequences],
    tokens_per_batch: int = 8192,
    *,
    plan: ForwardPlan | None = None,
    kept: KeptPrefixes | None = None,
) -> list[list[float]]:
    """Score every sequence of every group, in input order, without gradients.

    A group larger than `tokens_per_batch` is split by completion with its prefix repeated; nothing is dropped.

    Args:
        groups: per group the token ids of every full sequence.
        kept: prefixes of earlier calls for this model.
        tokens_per_batch: distinct tokens (padded tokens where prefixes are not shared) of one forward.

    Raises:
        ScoringError: a sequence without tokens, or a reward that is not finite.
    """
    found = compute_columns(model, groups, tokens_per_batch, plan=plan, kept=kept)
    return [[columns[0] for columns in row] for row in found]


def compute_columns(
    model: nn.Module,
    groups: Sequence[Sequences],
    tokens_per_batch: int = 8192,
    *,
    plan: ForwardPlan | None = None,
    kept: KeptPrefixes | None = None,
) -> list[list[list[float]]]:
    """Score as `compute_rewards` does; a text's reward is followed by what a wide head gives beside it."""
    _require_tokens(groups)
    plan = prepare_model(model) if plan is None else plan
    with _evaluating(model):
        if kept is None:
            found = _batch_by_batch(
                model, groups, tokens_per_batch, plan, lambda batch: model(reward_batch=batch).logits.tolist()
            )
        else:
            found = kept.columns(groups, tokens_per_batch)
    _require_finite(found)
    return found


def compute_features(
    model: nn.Module, groups: Sequence[Sequences], tokens_per_batch: int = 8192, *, plan: ForwardPlan | None = None
) -> list[list[Tensor]]:
    """Return what the head reads of every sequence of every group, on the CPU; the rest is as in `compute_rewards`.

    Shapes: each `[D]`.
    """
    _require_tokens(groups)
    core, plan = core_model(model), prepare_model(model) if plan is None else plan
    with _evaluating(model):
        return _batch_by_batch(
            model, groups, tokens_per_batch, plan, lambda batch: list(batch_features(core, batch).float().cpu())
        )


def compute_places(
    model: nn.Module,
    groups: Sequence[Sequences],
    places: Sequence[Sequence[Sequence[int]]],
    tokens_per_batch: int = 8192,
    *,
    plan: ForwardPlan | None = None,
) -> list[list[Tensor]]:
    """Return what the head gives of the tokens at `places` of every sequence, without gradients, on the CPU.

    Args:
        places: of every sequence of every group the tokens that are read, one at least.

    Shapes: each `[S, C]`, S the places of a sequence.
    """
    _require_tokens(groups)
    plan = prepare_model(model) if plan is None else plan
    found: list[dict[int, Tensor]] = [{} for _ in groups]
    with _evaluating(model):
        for members in _inference_batches(groups, tokens_per_batch, plan):
            chunk = [[groups[g][k] for k in own] for g, own in members]
            asked = [(g, k) for g, own in members for k in own]
            read = [places[g][k] for g, k in asked]
            batch = plan.batch(chunk, tokens_per_batch, read).to(core_model(model).device)
            columns = model(reward_batch=batch).logits.float().cpu()
            for (g, k), own_SC in zip(asked, columns.split([len(own) for own in read]), strict=True):
                found[g][k] = own_SC
    return [[values[k] for k in range(len(values))] for values in found]


def _require_tokens(groups: Sequence[Sequences]) -> None:
    for number, group in enumerate(groups):
        if any(len(sequence) == 0 for sequence in group):
            raise ScoringError(f"group {number} has a sequence without tokens; nothing can be scored in it")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    with _turn_of(model), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            model.train(training)


def _batch_by_batch(
    model: nn.Module,
    groups: Sequence[Sequences],
    tokens_per_batch: int,
    plan: ForwardPlan,
    compute: Callable[[RewardBatch], list[Value]],
) -> list[list[Value]]:
    """Return what `compute` gives of every sequence of a batch, in the order of the groups."""
    found: list[dict[int, Value]] = [{} for _ in groups]
    for places in _inference_batches(groups, tokens_per_batch, plan):
        chunk = [[groups[g][k] for k in members] for g, members in places]
        values = iter(compute(plan.batch(chunk, tokens_per_batch).to(core_model(model).device)))
        for g, members in places:
            found[g] |= {k: next(values) for k in members}
    return [[values[k] for k in range(len(values))] for values in found]


def _turn_of(model: nn.Module) -> threading.RLock:
    """Return the lock of a model: what a forward hangs on its layers belongs to one batch, so threads take turns."""
    with _LOCK:
        return _TURNS.setdefault(core_model(model), threading.RLock())


def _inference_batches(
    groups: Sequence[Sequences], tokens_per_batch: int, plan: ForwardPlan
) -> Iterator[list[tuple[int, list[int]]]]:
    """Yield batches of `(group, members)`; groups over the budget are split by completion."""
    pieces: list[tuple[int, list[int]]] = []
    for number, group in enumerate(groups):
        pieces += [(number, members) for members in _split_group(group, tokens_per_batch, plan)]
    costs = [plan.cost([groups[g][k] for k in members]) for g, members in pieces]
    budget = tokens_per_batch if plan.way == "packed" else tokens_per_batch * SORT_WINDOW
    for batch in packing.fill_batches(costs, budget):
        yield [pieces[i] for i in batch]


def _split_group(group: Sequences, tokens_per_batch: int, plan: ForwardPlan) -> list[list[int]]:
    """Split a group's members so that each part fits the budget, if one sequence of it can."""
    everyone = list(range(len(group)))
    if not everyone:
        return []
    if plan.way != "packed" or plan.cost(group) <= tokens_per_batch:
        return [everyone]
    prefix = shared_prefix_length(distinct(group)[0])
    costs = [len(sequence) - prefix for sequence in group]
    return packing.fill_batches(costs, max(1, tokens_per_batch - prefix))


def _require_finite(found: list[list[list[float]]]) -> None:
    for number, row in enumerate(found):
        for index, (value, *_) in enumerate(row):
            if not -float("inf") < value < float("inf"):
                raise ScoringError(
                    f"the reward of group {number}, completion {index} is {value}; the model's weights or the "
                    "precision overflow: check its weights, or load it in fp32"
                )
