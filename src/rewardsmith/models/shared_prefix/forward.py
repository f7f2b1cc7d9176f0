"""The reward forward: from a batch of token ids to one fp32 reward per sequence.

The model stays the Hugging Face class it was: ordinary calls, saving and loading are untouched.

Shapes: B sequences asked for, U distinct sequences, L tokens, D hidden.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.compiling import uncompiled
from rewardsmith.models.heads import HEADS_BY_TYPE, find_head
from rewardsmith.models.shared_prefix.auxiliary import (
    places_of,
    places_of_rests,
    recorded_routing,
    text_losses,
)
from rewardsmith.models.shared_prefix.forked import last_hidden
from rewardsmith.models.shared_prefix.packing import (
    Chunk,
    FeatureChunk,
    ForkedChunk,
    PackedChunk,
    Rests,
    RewardBatch,
    RowChunk,
)
from rewardsmith.models.shared_prefix.past import forget_lengths
from rewardsmith.models.shared_prefix.places import states_of_rests
from rewardsmith.models.wide_head import WideHead

# The name that older releases of transformers know warns in newer ones.
CHECKPOINTING = "is_activation_checkpointing"
if not hasattr(PreTrainedModel, CHECKPOINTING):
    CHECKPOINTING = "is_gradient_checkpointing"


def core_model(model: object) -> Any:
    """Return the sequence classifier inside data-parallel and PEFT wrappers."""
    while not isinstance(model, PreTrainedModel):
        if hasattr(model, "get_base_model"):
            model = model.get_base_model()
        elif hasattr(model, "module"):
            model = model.module
        else:
            raise ConfigError(f"{type(model).__name__} is not a transformers model; wrap nothing around it but PEFT")
    return model


@dataclass
class RewardOutput(SequenceClassifierOutput):
    """Rewards as `logits [B, C]`, and the language-model losses (B,) of a batch that asks for them."""

    text_losses: Tensor | None = None


@functools.cache
def _with_reward_forward(base: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return a subclass of `base`, of the same name, that also takes `reward_batch`.

    A class instead of a patched method, so that copies of the model keep working and the saved config names `base`.
    In training, `loss` is that of balanced experts, where the config asks for it.
    """

    def forward(self: PreTrainedModel, *args: Any, reward_batch: RewardBatch | None = None, **kwargs: Any) -> Any:
        if reward_batch is None:
            return base.forward(self, *args, **kwargs)
        # The routers of a frozen backbone are not trained, and its features are there without them.
        if not _balances_experts(self) or isinstance(reward_batch.chunks[0], FeatureChunk):
            return _outputs(self, reward_batch)
        with recorded_routing(self) as routing:
            output = _outputs(self, replace(reward_batch, narrows=False))
        return RewardOutput(routing.loss(self, reward_batch), output.logits, text_losses=output.text_losses)

    return type(base.__name__, (base,), {"forward": forward, "__module__": base.__module__, "_reward_base": base})


def _balances_experts(core: PreTrainedModel) -> bool:
    """Whether the config asks for the loss, by transformers' `output_router_logits`, and the model is in training."""
    return core.training and bool(getattr(core.config.get_text_config(), "output_router_logits", False))


def install_forward(core: PreTrainedModel) -> None:
    if not hasattr(type(core), "_reward_base"):
        core.__class__ = _with_reward_forward(type(core))  # type: ignore[arg-type]


def batch_rewards(core: PreTrainedModel, batch: RewardBatch) -> Tensor:
    """Compute a batch's rewards in fp32. Shapes: -> `rewards_B`."""
    return batch_columns(core, batch)[:, 0]


def batch_columns(core: PreTrainedModel, batch: RewardBatch) -> Tensor:
    """Compute a batch's rewards, and what a wide head gives beside them, in fp32. Shapes: -> [B, C], rewards first."""
    return torch.cat([_chunk_columns(core, chunk, batch.narrows) for chunk in batch.chunks])[batch.sequence_B]


def _outputs(core: PreTrainedModel, batch: RewardBatch) -> RewardOutput:
    if batch.reads_text_B is None:
        return RewardOutput(logits=batch_columns(core, batch))
    sizes = [_num_sequences(chunk) for chunk in batch.chunks]
    wanted_U = torch.zeros(sum(sizes), dtype=torch.bool, device=batch.sequence_B.device)
    wanted_U[batch.sequence_B[batch.reads_text_B]] = True
    found = []
    for chunk, wanted in zip(batch.chunks, wanted_U.split(sizes), strict=True):
        again = isinstance(chunk, RowChunk) and chunk.recompute and torch.is_grad_enabled()
        call = functools.partial(checkpoint, _read_text, use_reentrant=False) if again else _read_text
        found.append(call(core, chunk, wanted))
    columns_BC, losses_B = (torch.cat(part)[batch.sequence_B] for part in zip(*found, strict=True))
    return RewardOutput(logits=columns_BC, text_losses=losses_B)


def _num_sequences(chunk: Chunk) -> int:
    if isinstance(chunk, FeatureChunk):
        return len(chunk.features_UD)
    return sum(len(part.group_U) for part in chunk.parts) if isinstance(chunk, ForkedChunk) else len(chunk.last_U)


def _read_text(core: PreTrainedModel, chunk: Chunk, wanted_U: Tensor) -> tuple[Tensor, Tensor]:
    """Return a chunk's columns and the language-model losses of the wanted sequences. Shapes: -> [U, C], (U,)."""
    head = token_head(core)
    assert head is not None, "only a decoder is asked for the loss of a text"
    assert not isinstance(chunk, FeatureChunk), "features hold no texts"
    weight_VD = core.get_input_embeddings().get_parameter("weight")
    if not isinstance(chunk, ForkedChunk):
        hidden = _hidden(core, chunk, narrows=False)
        flat = (hidden.flatten(0, 1), chunk.input_ids.flatten(), places_of(chunk))
        return head_columns(head, _pool(core, hidden, chunk)), text_losses(weight_VD, *flat, wanted_U)
    pooled, losses, start = [], [], 0
    for prefix, hidden, rests in _forked_hidden(core, chunk):
        pooled.append(_pool_part(core, prefix, hidden, rests))
        states = torch.cat([prefix.flatten(0, 1), hidden.flatten(0, 1)])
        ids = torch.cat([chunk.prefix_ids.flatten(), rests.input_ids.flatten()])
        wanted = wanted_U[start : (start := start + len(rests.group_U))]
        losses.append(text_losses(weight_VD, states, ids, places_of_rests(chunk.prefix_ids, rests), wanted))
    return head_columns(head, torch.cat(pooled)), torch.cat(losses)


def _chunk_columns(core: Any, chunk: Chunk, narrows: bool) -> Tensor:
    """Shapes: -> [U, C]."""
    if isinstance(chunk, FeatureChunk):
        return head_columns(reward_head(core), chunk.features_UD)
    if isinstance(chunk, RowChunk) and chunk.recompute and torch.is_grad_enabled():
        return checkpoint(_columns_once, core, chunk, narrows, use_reentrant=False)
    return _columns_once(core, chunk, narrows)


def _columns_once(core: Any, chunk: Chunk, narrows: bool) -> Tensor:
    head = token_head(core)
    if head is None:
        assert isinstance(chunk, RowChunk)
        # Encoders pool in their own way; rows are right-padded and masked, so their logits are the rewards.
        base = type(core)._reward_base  # type: ignore[attr-defined]
        logits = base.forward(core, input_ids=chunk.input_ids, attention_mask=chunk.attention_mask).logits.float()
        return logits if chunk.row_U is None else logits[chunk.row_U, chunk.last_U]
    pooled = pooled_hidden(core, chunk, narrows)
    # A classifier of tokens drops values before its head, where that is not off; none of texts does.
    return head_columns(head, core.dropout(pooled) if "ForTokenClassification" in type(core).__name__ else pooled)


def batch_features(core: PreTrainedModel, batch: RewardBatch) -> Tensor:
    """Return what the head reads of every sequence. Shapes: -> `[B, D]`.

    Raises:
        ConfigError: a head that reads more than one vector of a sequence.
    """
    return torch.cat([_chunk_features(core, chunk, batch.narrows) for chunk in batch.chunks])[batch.sequence_B]


def _chunk_features(core: PreTrainedModel, chunk: Chunk, narrows: bool) -> Tensor:
    """Shapes: -> `[U, D]`."""
    if has_token_head(core):
        return pooled_hidden(core, chunk, narrows)
    seen: list[Tensor] = []
    handle = reward_head(core).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        _chunk_columns(core, chunk, narrows)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0].ndim != 2:
        name = type(core).__name__
        raise ConfigError(f"the head of {name} reads every token, not one vector a text: leave freeze_backbone out")
    return seen[0]


def pooled_hidden(core: PreTrainedModel, chunk: Chunk, narrows: bool = True) -> Tensor:
    """Run the backbone and pool. Shapes: -> `[U, D]`, or `[U, 2 D]` for mean_max.

    Args:
        narrows: compute the last layer for the scored tokens alone where only those are read.
    """
    if isinstance(chunk, FeatureChunk):
        return chunk.features_UD
    if isinstance(chunk, ForkedChunk):
        return torch.cat([_pool_part(core, *part) for part in _forked_hidden(core, chunk)])
    return _pool(core, _hidden(core, chunk, narrows), chunk)


def _forked_hidden(core: PreTrainedModel, chunk: ForkedChunk) -> Iterator[tuple[Tensor, Tensor, Rests]]:
    recompute = core.training and getattr(core, CHECKPOINTING)
    return last_hidden(getattr(core, core.base_model_prefix), chunk, recompute=recompute)


def _hidden(core: PreTrainedModel, chunk: PackedChunk | RowChunk, narrows: bool) -> Tensor:
    """Return the last hidden states. Shapes: -> [1, L, D] packed, [U, L, D] rows."""
    backbone = getattr(core, core.base_model_prefix)
    options: dict[str, Any] = {"use_cache": False}
    if "dynamic" in str(getattr(getattr(backbone, "rotary_emb", None), "rope_type", "")):
        forget_lengths(backbone)
    if isinstance(chunk, PackedChunk):
        # A 4-D mask is handed through by transformers as it is; the attention reads the layout instead.
        options["attention_mask"] = torch.zeros(1, 1, 1, 1, device=chunk.input_ids.device)
        options |= {"position_ids": chunk.position_ids, "prefix_layout": chunk.layout}
        layer = _narrowed_layer(core) if narrows else LastLayer()
        with scored_tokens_only(layer, chunk.last_U, chunk.input_ids.shape[1]):
            hidden: Tensor = backbone(input_ids=chunk.input_ids, **options).last_hidden_state
    else:
        hidden = backbone(input_ids=chunk.input_ids, attention_mask=chunk.attention_mask, **options).last_hidden_state
    return hidden


def _pool_part(core: PreTrainedModel, prefix: Tensor, hidden: Tensor, rests: Rests) -> Tensor:
    """Pool what goes on from forked caches. Shapes: prefix [G, P, D], hidden [U, L, D] -> [U, D] or [U, 2 D]."""
    pooling = getattr(core.config, "reward_pooling", "last")
    if rests.row_U is not None:
        return states_of_rests(prefix, hidden, rests)
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), rests.last_U]
    places = zip(hidden, rests.group_U.tolist(), rests.last_U.tolist(), strict=True)
    return torch.stack([_summarise((prefix[group], row[: last + 1]), pooling) for row, group, last in places])


def _narrowed_layer(core: PreTrainedModel) -> LastLayer:
    """Return what only scored tokens need; nothing where all are read, or where it will be computed again."""
    recomputed = core.training and getattr(core, CHECKPOINTING)
    if recomputed or getattr(core.config, "reward_pooling", "last") != "last":
        return LastLayer()
    return last_layer(getattr(core, core.base_model_prefix))


def token_head(core: PreTrainedModel) -> nn.Module | None:
    """Return the head that reads a decoder's hidden states token by token; None where there is none."""
    names = ("score",) if hasattr(core, "score") else HEADS_BY_TYPE.get(core.config.model_type, ())
    parts = [getattr(core, name, None) for name in names]
    if not (names and hasattr(core, core.base_model_prefix)) or not all(isinstance(part, nn.Module) for part in parts):
        return None
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)  # type: ignore[arg-type]


def reward_head(core: PreTrainedModel) -> nn.Module:
    """Return the module whose output is the reward. Raises ConfigError when there is none."""
    head = token_head(core)
    return find_head(core) if head is None else head


def has_token_head(core: PreTrainedModel) -> bool:
    """Whether the reward is a head over a decoder's last hidden states."""
    return token_head(core) is not None


def _pool(core: PreTrainedModel, hidden: Tensor, chunk: PackedChunk | RowChunk) -> Tensor:
    """Pool `hidden` ([1, L, D] packed, [U, L, D] rows) into what the head reads, `[U, D]` or `[U, 2 D]`."""
    pooling = getattr(core.config, "reward_pooling", "last")
    if pooling == "last":
        if isinstance(chunk, PackedChunk):
            return hidden[0, chunk.last_U]
        row_U = torch.arange(len(hidden), device=hidden.device) if chunk.row_U is None else chunk.row_U
        return hidden[row_U, chunk.last_U]
    if isinstance(chunk, PackedChunk):
        tokens = _packed_segments(hidden[0], chunk)
    else:
        tokens = ((row[: last + 1],) for row, last in zip(hidden, chunk.last_U.tolist(), strict=True))
    return torch.stack([_summarise(parts, pooling) for parts in tokens])


def _packed_segments(hidden: Tensor, chunk: PackedChunk) -> Iterator[tuple[Tensor, ...]]:
    """Yield `(prefix, branch)` hidden states of every distinct sequence. Shapes: hidden [L, D]."""
    for start, prefix, branches in chunk.layout.spans():
        end = start + prefix
        shared = hidden[start:end]
        for length in branches:
            yield (shared, hidden[end : end + length]) if prefix else (hidden[end : end + length],)
            end += length


def _summarise(parts: tuple[Tensor, ...], pooling: str) -> Tensor:
    """Return the mean (and the maximum beside it) over all tokens of the parts. Shapes: [n, D] each -> [D] or [2 D]."""
    count = sum(len(part) for part in parts)
    mean = torch.stack([part.float().sum(0) for part in parts]).sum(0) / count
    if pooling == "mean":
        return mean
    maximum = torch.stack([part.float().amax(0) for part in parts]).amax(0)
    return torch.cat([mean, maximum])


def apply_head(head: nn.Module, pooled: Tensor) -> Tensor:
    """Return the rewards in fp32 whatever the autocast. Shapes: [U, D] -> [U]."""
    return head_columns(head, pooled)[:, 0]


def head_columns(head: nn.Module, pooled: Tensor) -> Tensor:
    """Apply the head in fp32 whatever the autocast. Shapes: [U, D] -> [U, C], the rewards first."""
    with torch.autocast(pooled.device.type, enabled=False):
        weight = getattr(head, "weight", None)
        if isinstance(head, WideHead):
            return head(pooled)
        if isinstance(head, nn.Linear) and weight is not None and weight.dtype != torch.float32 and weight.ndim == 2:
            bias = None if head.bias is None else head.bias.float()
            return F.linear(pooled.float(), weight.float(), bias)
        dtype = next(head.parameters()).dtype
        return head(pooled.to(dtype if dtype.is_floating_point else torch.float32)).float()


@dataclass(frozen=True)
class LastLayer:
    """The parts of a decoder's last layer that only scored tokens need.

    Args:
        attention: the attention block; its `prefix_layout` says for which tokens it attends.
        tokenwise: blocks that treat every token alone: the MLP, the query and the output projection.
        whole: the layer itself.
    """

    attention: nn.Module | None = None
    tokenwise: tuple[nn.Module, ...] = ()
    whole: tuple[nn.Module, ...] = ()


def last_layer(backbone: object) -> LastLayer:
    """Find a decoder's last layer by the names that transformers uses; parts without such a name stay whole."""
    layers = getattr(backbone, "layers", None) or getattr(backbone, "h", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return LastLayer()
    attention = _part(layers[-1], "self_attn", "attn", "attention")
    query = _part(attention, "q_proj")
    output = _part(attention, "o_proj", "dense", "c_proj", "out_proj")
    found = (query, output, _part(layers[-1], "mlp"))
    tokenwise = tuple(part for part in found if part is not None)
    return LastLayer(attention if output else None, tokenwise, (layers[-1],))


def _part(module: nn.Module | None, *names: str) -> nn.Module | None:
    """Return the first part of one of these names."""
    found = (getattr(module, name, None) for name in names)
    return next((part for part in found if isinstance(part, nn.Module)), None)


@contextlib.contextmanager
def scored_tokens_only(layer: LastLayer, kept_U: Tensor, num_tokens: int) -> Iterator[None]:
    """Compute the parts of `layer` for the tokens `kept_U` within the context, and give zero for all others.

    Shapes: kept_U [U] without repetition, the parts' inputs and outputs [1, L, D] with L = `num_tokens`.

    Raises:
        ScoringError: a part that does not give one tensor.
    """

    def narrow(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].index_select(1, kept_U), *inputs[1:])

    def widen(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise ScoringError(f"{type(module).__name__} gives a {type(output).__name__}, not one tensor")
        return output.new_zeros(1, num_tokens, output.shape[-1]).index_copy(1, kept_U, output)

    def attend_from_kept(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        layout = options.get("prefix_layout")
        return inputs, options if layout is None else {**options, "prefix_layout": layout.attending_from(kept_U)}

    with contextlib.ExitStack() as handles:
        if any(part._compiled_call_impl is not None for part in layer.whole):
            handles.enter_context(uncompiled(layer.whole))
        for part in layer.tokenwise:
            handles.callback(part.register_forward_pre_hook(narrow).remove)
            handles.callback(part.register_forward_hook(widen).remove)
        if layer.attention is not None:
            handles.callback(layer.attention.register_forward_pre_hook(attend_from_kept, with_kwargs=True).remove)
        yield
