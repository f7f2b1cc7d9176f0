"""The reward forward: from groups of token ids to one fp32 reward per sequence.

`prepare_model` decides once, from the model's config and a check on a few tokens, whether prefixes can be shared
exactly. The model stays the Hugging Face class it was: ordinary calls, saving and loading are untouched.

Shapes: B sequences asked for, U distinct sequences, L tokens, D hidden.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from rewardsmith.errors import ConfigError, RewardsmithError, ScoringError
from rewardsmith.models.shared_prefix import packing
from rewardsmith.models.shared_prefix.attention import FLEX_BLOCK, IMPLEMENTATION
from rewardsmith.models.shared_prefix.grouping import Sequences, distinct, shared_prefix_length
from rewardsmith.models.shared_prefix.last_layer import LastLayer, last_layer, scored_tokens_only
from rewardsmith.models.shared_prefix.packing import PackedChunk, RewardBatch, RowChunk
from rewardsmith.models.shared_prefix.sharing import reason_not_to_share

logger = logging.getLogger(__name__)

# How many token budgets of rows are sorted by length together: enough to waste little padding, little to hold.
SORT_WINDOW = 16
# Set to False on a model whose last layer turned out not to work token by token.
NARROWS = "_rewardsmith_narrows_last_layer"
# The name that older releases of transformers know warns in newer ones.
CHECKPOINTING = "is_activation_checkpointing"
if not hasattr(PreTrainedModel, CHECKPOINTING):
    CHECKPOINTING = "is_gradient_checkpointing"
# What a model that cannot share its prefixes raises in the check on a few tokens.
CHECK_FAILURES = (RewardsmithError, TypeError, ValueError, RuntimeError)


@dataclass(frozen=True)
class ForwardPlan:
    """How a model's rewards are computed: whether prefixes are shared and, if not, why."""

    share: bool
    reason: str
    pad_token_id: int
    pad_to: int

    def batch(self, groups: Sequence[Sequences], tokens_per_chunk: int | None = None) -> RewardBatch:
        """Turn groups of token ids into the tensors of one forward."""
        if self.share:
            return packing.pack(groups, pad_token_id=self.pad_token_id, pad_to=self.pad_to)
        return packing.pad_rows(groups, pad_token_id=self.pad_token_id, tokens_per_chunk=tokens_per_chunk)

    def cost(self, sequences: Sequences) -> int:
        """Give how many tokens a group costs under this plan."""
        return packing.count_tokens(sequences, self.share)


def core_model(model: Any) -> Any:
    """Give the sequence classifier inside data-parallel and PEFT wrappers."""
    while not isinstance(model, PreTrainedModel):
        if hasattr(model, "get_base_model"):
            model = model.get_base_model()
        elif hasattr(model, "module"):
            model = model.module
        else:
            raise ConfigError(f"{type(model).__name__} is not a transformers model; wrap nothing around it but PEFT")
    return model


def prepare_model(model: nn.Module, share: bool | None = None) -> ForwardPlan:
    """Install the reward forward on `model` and decide whether prefixes are shared.

    Args:
        model: any `*ForSequenceClassification` with one label, also inside PEFT.
        share: None decides; False computes separate rows; True insists.

    Raises:
        ConfigError: `share=True` for a model where sharing cannot be exact; the message says why.
    """
    core = core_model(model)
    reason = "prefix sharing was switched off" if share is False else reason_not_to_share(core)
    _install_forward(core)
    if not reason:
        reason = _switch_attention(core)
    if reason and share:
        raise ConfigError(f"prefixes cannot be shared exactly: {reason}; leave share_prefix on 'auto'")
    text_config = core.config.get_text_config()
    pad_token_id = text_config.pad_token_id if text_config.pad_token_id is not None else 0
    return ForwardPlan(not reason, reason or "exact", pad_token_id, _pad_to(core))


def compute_rewards(
    model: nn.Module, groups: Sequence[Sequences], tokens_per_batch: int = 8192, *, plan: ForwardPlan | None = None
) -> list[list[float]]:
    """Score every sequence of every group, in input order, without gradients.

    A group larger than `tokens_per_batch` is split by completion with its prefix repeated; nothing is dropped.

    Args:
        groups: per group the token ids of every full sequence.
        tokens_per_batch: distinct tokens (padded tokens where prefixes are not shared) of one forward.

    Raises:
        ScoringError: a sequence without tokens, or a reward that is not finite.
    """
    plan = prepare_model(model) if plan is None else plan
    for number, group in enumerate(groups):
        if any(len(sequence) == 0 for sequence in group):
            raise ScoringError(f"group {number} has a sequence without tokens; nothing can be scored in it")
    rewards: list[list[float]] = [[0.0] * len(group) for group in groups]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for places in _inference_batches(groups, tokens_per_batch, plan):
                chunk = [[groups[g][k] for k in members] for g, members in places]
                batch = plan.batch(chunk, tokens_per_batch).to(core_model(model).device)
                values = iter(model(reward_batch=batch).logits[:, 0].tolist())
                for g, members in places:
                    for k in members:
                        rewards[g][k] = next(values)
    finally:
        model.train(training)
    _require_finite(rewards)
    return rewards


def _inference_batches(
    groups: Sequence[Sequences], tokens_per_batch: int, plan: ForwardPlan
) -> Iterator[list[tuple[int, list[int]]]]:
    """Give batches of `(group, members)`; groups over the budget are split by completion."""
    pieces: list[tuple[int, list[int]]] = []
    for number, group in enumerate(groups):
        pieces += [(number, members) for members in _split_group(group, tokens_per_batch, plan)]
    costs = [plan.cost([groups[g][k] for k in members]) for g, members in pieces]
    budget = tokens_per_batch if plan.share else tokens_per_batch * SORT_WINDOW
    for batch in packing.fill_batches(costs, budget):
        yield [pieces[i] for i in batch]


def _split_group(group: Sequences, tokens_per_batch: int, plan: ForwardPlan) -> list[list[int]]:
    """Split a group's members so that each part fits the budget, if one sequence of it can."""
    everyone = list(range(len(group)))
    if not everyone:
        return []
    if not plan.share or plan.cost(group) <= tokens_per_batch:
        return [everyone]
    prefix = shared_prefix_length(distinct(group)[0])
    costs = [len(sequence) - prefix for sequence in group]
    return packing.fill_batches(costs, max(1, tokens_per_batch - prefix))


def _require_finite(rewards: list[list[float]]) -> None:
    for number, row in enumerate(rewards):
        for index, value in enumerate(row):
            if not -float("inf") < value < float("inf"):
                raise ScoringError(
                    f"the reward of group {number}, completion {index} is {value}; the model's weights or the "
                    "precision overflow: check its weights, or load it in fp32"
                )


@functools.cache
def _with_reward_forward(base: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Give a subclass of `base`, of the same name, that also takes `reward_batch`.

    A class instead of a patched method, so that copies of the model keep working and the saved config names `base`.
    """

    def forward(self: PreTrainedModel, *args: Any, reward_batch: RewardBatch | None = None, **kwargs: Any) -> Any:
        if reward_batch is None:
            return base.forward(self, *args, **kwargs)
        return SequenceClassifierOutput(logits=batch_rewards(self, reward_batch)[:, None])

    return type(base.__name__, (base,), {"forward": forward, "__module__": base.__module__, "_reward_base": base})


def _install_forward(core: Any) -> None:
    if not hasattr(type(core), "_reward_base"):
        core.__class__ = _with_reward_forward(type(core))  # type: ignore[arg-type]


def batch_rewards(core: PreTrainedModel, batch: RewardBatch) -> Tensor:
    """Compute a batch's rewards in fp32. Shapes: -> `rewards_B`."""
    return torch.cat([_chunk_rewards(core, chunk) for chunk in batch.chunks])[batch.sequence_B]


def _chunk_rewards(core: Any, chunk: PackedChunk | RowChunk) -> Tensor:
    """Shapes: -> `rewards_U`."""
    if not has_token_head(core):
        assert isinstance(chunk, RowChunk)
        # Encoders pool in their own way; rows are right-padded and masked, so their logits are the rewards.
        base = type(core)._reward_base  # type: ignore[attr-defined]
        return base.forward(core, input_ids=chunk.input_ids, attention_mask=chunk.attention_mask).logits[:, 0].float()
    return _apply_head(core.score, _pooled_hidden(core, chunk))


def _pooled_hidden(core: PreTrainedModel, chunk: PackedChunk | RowChunk) -> Tensor:
    """Run the backbone and pool. Shapes: -> `[U, D]`, or `[U, 2 D]` for mean_max."""
    backbone = getattr(core, core.base_model_prefix)
    options: dict[str, Any] = {"use_cache": False}
    if isinstance(chunk, PackedChunk):
        # A 4-D mask is handed through by transformers as it is; the attention reads the layout instead.
        options["attention_mask"] = torch.zeros(1, 1, 1, 1, device=chunk.input_ids.device)
        options |= {"position_ids": chunk.position_ids, "prefix_layout": chunk.layout}
        with scored_tokens_only(_narrowed_layer(core), chunk.last_U, chunk.input_ids.shape[1]):
            hidden = backbone(input_ids=chunk.input_ids, **options).last_hidden_state
    else:
        hidden = backbone(input_ids=chunk.input_ids, attention_mask=chunk.attention_mask, **options).last_hidden_state
    return _pool(core, hidden, chunk)


def _narrowed_layer(core: Any) -> LastLayer:
    """Give what only scored tokens need; nothing where all are read, or where it will be computed again."""
    recomputed = core.training and getattr(core, CHECKPOINTING)
    if recomputed or getattr(core.config, "reward_pooling", "last") != "last" or not getattr(core, NARROWS, True):
        return LastLayer()
    return last_layer(getattr(core, core.base_model_prefix))


def has_token_head(core: PreTrainedModel) -> bool:
    """Whether the reward is a linear head `score` over a decoder's last hidden states."""
    return isinstance(getattr(core, "score", None), nn.Module) and hasattr(core, core.base_model_prefix)


def _pool(core: PreTrainedModel, hidden: Tensor, chunk: PackedChunk | RowChunk) -> Tensor:
    """Pool `hidden` ([1, L, D] packed, [U, L, D] rows) into what the head reads, `[U, D]` or `[U, 2 D]`."""
    pooling = getattr(core.config, "reward_pooling", "last")
    if pooling == "last":
        if isinstance(chunk, PackedChunk):
            return hidden[0, chunk.last_U]
        return hidden[torch.arange(len(hidden), device=hidden.device), chunk.last_U]
    if isinstance(chunk, PackedChunk):
        tokens = _packed_segments(hidden[0], chunk)
    else:
        tokens = ((row[: last + 1],) for row, last in zip(hidden, chunk.last_U.tolist(), strict=True))
    return torch.stack([_summarise(parts, pooling) for parts in tokens])


def _packed_segments(hidden: Tensor, chunk: PackedChunk) -> Iterator[tuple[Tensor, ...]]:
    """Give `(prefix, branch)` hidden states of every distinct sequence. Shapes: hidden [L, D]."""
    for start, prefix, branches in chunk.layout.spans():
        end = start + prefix
        shared = hidden[start:end]
        for length in branches:
            yield (shared, hidden[end : end + length]) if prefix else (hidden[end : end + length],)
            end += length


def _summarise(parts: tuple[Tensor, ...], pooling: str) -> Tensor:
    """Give the mean (and the maximum beside it) over all tokens of the parts. Shapes: [n, D] each -> [D] or [2 D]."""
    count = sum(len(part) for part in parts)
    mean = torch.stack([part.float().sum(0) for part in parts]).sum(0) / count
    if pooling == "mean":
        return mean
    maximum = torch.stack([part.float().amax(0) for part in parts]).amax(0)
    return torch.cat([mean, maximum])


def _apply_head(head: nn.Module, pooled: Tensor) -> Tensor:
    """Apply the head in fp32 whatever the autocast. Shapes: [U, D] -> [U]."""
    with torch.autocast(pooled.device.type, enabled=False):
        weight = getattr(head, "weight", None)
        if isinstance(head, nn.Linear) and weight is not None and weight.dtype != torch.float32 and weight.ndim == 2:
            bias = None if head.bias is None else head.bias.float()
            return F.linear(pooled.float(), weight.float(), bias)[:, 0]
        dtype = next(head.parameters()).dtype
        return head(pooled.to(dtype if dtype.is_floating_point else torch.float32))[:, 0].float()


def _switch_attention(core: PreTrainedModel) -> str:
    """Switch to shared-prefix attention and check it on a few tokens. Returns why not, or nothing.

    The check catches what no config tells, such as remote code that ignores position ids.
    """
    if core.config._attn_implementation == IMPLEMENTATION:
        return ""
    before = core.config._attn_implementation
    vocabulary = core.config.get_text_config().vocab_size
    token_ids = [(5 + i) % vocabulary for i in range(14)]
    group = [token_ids[:9], [*token_ids[:6], *token_ids[7:12]], [*token_ids[:5], token_ids[0]]]
    training = core.training
    core.eval()
    try:
        with torch.no_grad():
            rows = packing.pad_rows([group], pad_token_id=0).to(core.device)
            expected = _pooled_hidden(core, rows.chunks[0])[rows.sequence_B]
            core.set_attn_implementation(IMPLEMENTATION)
            packed = packing.pack([group], pad_to=_pad_to(core)).to(core.device)
            reason = _difference(core, packed, expected)
            if reason:
                # Mixtures of experts and the like: all tokens go through the last block.
                setattr(core, NARROWS, False)
                reason = _difference(core, packed, expected)
    except CHECK_FAILURES as error:
        reason = f"a check on a few tokens failed: {str(error).splitlines()[0][:120]}"
    finally:
        core.train(training)
    if reason and core.config._attn_implementation != before:
        core.set_attn_implementation(before)
    return reason


def _difference(core: PreTrainedModel, packed: RewardBatch, expected: Tensor) -> str:
    """Compare the packed forward with separate rows. Returns what is wrong, or nothing. Shapes: expected [B, D]."""
    try:
        actual = _pooled_hidden(core, packed.chunks[0])[packed.sequence_B]
    except CHECK_FAILURES as error:
        return f"a check on a few tokens failed: {str(error).splitlines()[0][:120]}"
    tolerance = 1e-4 if expected.dtype == torch.float32 else 6e-2
    error_size = float((actual.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-12))
    return "" if error_size < tolerance else f"a check on a few tokens differs by {error_size:.1e} (relative)"


def _pad_to(core: PreTrainedModel) -> int:
    return FLEX_BLOCK if core.device.type == "cuda" else 1
