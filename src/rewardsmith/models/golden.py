"""Golden rewards: what a checkpoint gives for a few fixed texts, and how far they may be from those of its saving.

A bf16 model, and one that is loaded in another precision than it was saved in, is held to what rounding usually costs.
Some models feel rounding more, so saving also keeps what weights of half precision give when all else is computed in
fp32: of these a model that is loaded in half precision, or was saved in it, is the same to rounding in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel

from rewardsmith.errors import CheckpointError, ScoringError
from rewardsmith.models.contract import GoldenText, ScoringContract, encode_golden
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.exactness import CHECK_FAILURES
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.plan import ForwardPlan, compute_rewards, prepare_model
from rewardsmith.models.shared_prefix.precision import HALVES, in_float32, rounded
from rewardsmith.models.steps import StepRenderer, TokenJudge

if TYPE_CHECKING:
    from rewardsmith.models.checkpoint import LoadedModel

RESTORE = "its files are not those that its contract was written for; restore them, or skip this check (--no-verify)"
# A fresh process computes the same sums in another order; bf16 weights carry 8 bits.
TOLERANCES = {"float32": 1e-5, "float64": 1e-5, "bfloat16": 3e-2, "float16": 5e-3}
# The same weights in fp32, on another machine, where few texts make rounding look larger than it is.
SAME_WEIGHTS = 1e-3


@contextmanager
def full_precision(model: PreTrainedModel) -> Iterator[None]:
    """Compute without autocast, also where a trainer has laid its autocast around the model's own forward."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        with torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        if wrapped is not None:
            model.__dict__["forward"] = wrapped


def golden_texts(core: PreTrainedModel, renderer: Renderer, plan: ForwardPlan) -> list[GoldenText]:
    """Return the golden texts with the rewards that a model gives them now."""
    encoded = encode_golden(renderer)
    rows = [ids for _, ids in encoded]
    with full_precision(core):
        rewards = _rewards(core, renderer, rows, plan)
        halves = _half_rewards(core, renderer, rows, plan)
    return [
        GoldenText(text=text, ids=ids, reward=reward, half_reward=half)
        for (text, ids), reward, half in zip(encoded, rewards, halves, strict=True)
    ]


def _rewards(
    model: nn.Module, renderer: Renderer, sequences: Sequence[Sequence[int]], plan: ForwardPlan
) -> list[float]:
    """Return the reward of each sequence; of a solution the least of its steps' scores."""
    groups = [[ids] for ids in sequences]
    if not isinstance(renderer, StepRenderer):
        return [row[0] for row in compute_rewards(model, groups, plan=plan)]
    return [row[0].reward for row in TokenJudge(renderer.rule, "min", plan).read_groups(model, groups, 8192)]


def _half_rewards(
    core: PreTrainedModel, renderer: Renderer, rows: Sequence[list[int]], plan: ForwardPlan
) -> Sequence[float | None]:
    """Return what weights of half precision give in fp32: those that are stored, else bf16's; None where none can."""
    is_half = any(weight.dtype in HALVES for weight in core.parameters())
    try:
        with in_float32(core, whole_tables=True) if is_half else rounded(core) as is_other:
            found = _rewards(core, renderer, rows, plan) if is_other else []
    except CHECK_FAILURES:
        # A family that cannot be computed so has its other rewards.
        found = []
    return found or [None] * len(rows)


def golden_difference(loaded: LoadedModel) -> tuple[float, float]:
    """Return the largest difference to the golden rewards, and how large it may be in the checkpoint's precision."""
    contract = loaded.contract
    if contract is None or not contract.golden:
        raise CheckpointError("the checkpoint has no golden texts to compare with")
    rows = _encoded_again(loaded, contract)
    for golden, ids in zip(contract.golden, rows, strict=True):
        if ids != golden.ids:
            raise CheckpointError(f"the tokenizer gives other ids than at saving time for {golden.text[:60]!r}")
    own = str(core_model(loaded.model).dtype).removeprefix("torch.")
    plan, halves = prepare_model(loaded.model), _known_halves(contract)
    if own == "float32" and contract.dtype in ("bfloat16", "float16") and halves:
        # fp32 beside fp32; a position's angle may have been stored in half precision with the rest.
        return _largest(loaded, plan, rows, halves), TOLERANCES[contract.dtype] * _scale(contract)
    largest = _largest(loaded, plan, rows, [golden.reward for golden in contract.golden])
    # In a lower precision than it was saved in, a model gives its rewards less exactly.
    allowed = max(TOLERANCES.get(name, 3e-2) for name in (contract.dtype, own))
    allowed *= _scale(contract) * (1 if own == contract.dtype else 3)
    if not largest <= allowed and halves and own in (contract.dtype, "bfloat16") and contract.dtype in ("float32", own):
        with in_float32(core_model(loaded.model), whole_tables=True) as is_other:
            exactly = _largest(loaded, plan, rows, halves) if is_other else float("inf")
        if exactly <= SAME_WEIGHTS * _scale(contract):
            return exactly, SAME_WEIGHTS * _scale(contract)
    return largest, allowed


def _known_halves(contract: ScoringContract) -> list[float]:
    """Return the rewards of weights of half precision; none where one is not known."""
    found = [golden.half_reward for golden in contract.golden]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else []


def _largest(loaded: LoadedModel, plan: ForwardPlan, rows: Sequence[Sequence[int]], expected: Sequence[float]) -> float:
    rewards = _rewards(loaded.model, loaded.renderer, rows, plan)
    return max(abs(reward - wanted) for reward, wanted in zip(rewards, expected, strict=True))


def _encoded_again(loaded: LoadedModel, contract: ScoringContract) -> list[list[int]]:
    """Return the ids of the golden texts by the tokenizer that was loaded, where it can be asked."""
    texts = [golden.text for golden in contract.golden]
    if isinstance(loaded.renderer, StepRenderer):
        found = dict(encode_golden(loaded.renderer))
        return [found.get(text, []) for text in texts]
    if loaded.renderer.policy.closed_by_tokenizer:
        return [golden.ids for golden in contract.golden]
    return [loaded.renderer.encode_text(text, rendered=True) for text in texts]


def _scale(contract: ScoringContract) -> float:
    return max(1.0, max(abs(golden.reward) for golden in contract.golden))


def require_golden(loaded: LoadedModel, name: str) -> None:
    """Refuse a model that does not give the rewards it was saved with; one without golden texts passes.

    Raises:
        CheckpointError: they differ, as where weights were changed under a contract that stayed.
    """
    if loaded.contract is None or not loaded.contract.golden:
        return
    try:
        largest, tolerance = golden_difference(loaded)
    except (ScoringError, CheckpointError) as error:
        raise CheckpointError(f"{name} cannot give its golden rewards: {error}; {RESTORE}") from error
    if not largest <= tolerance:
        raise CheckpointError(f"{name}: golden rewards differ by {largest:.2e}, allowed {tolerance:.0e}: {RESTORE}")
