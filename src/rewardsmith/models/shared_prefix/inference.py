"""Score any number of groups without gradients, in batches that fit a token budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix import packing
from rewardsmith.models.shared_prefix.forward import batch_features, core_model
from rewardsmith.models.shared_prefix.kept import KeptPrefixes
from rewardsmith.models.shared_prefix.packing import RewardBatch, Sequences, distinct, shared_prefix_length
from rewardsmith.models.shared_prefix.plan import ForwardPlan, prepare_model

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
    """Give batches of `(group, members)`; groups over the budget are split by completion."""
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
