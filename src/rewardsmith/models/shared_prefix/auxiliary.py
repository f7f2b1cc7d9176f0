"""What is lost beside the reward's loss: the language model's, and that which balances experts.

Both are as separate rows would give them, with every distinct token computed once. The balancing loss (Fedus et al.
2021, "Switch Transformers", equations 4 to 6, as transformers computes it) counts how often each expert is chosen: a
token of a shared prefix stands in many rows, so it is counted once a row.

Shapes: N tokens of a chunk laid flat or of one pass, B sequences asked for, U distinct sequences, D hidden, V
vocabulary, E experts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.shared_prefix.packing import (
    Chunk,
    FeatureChunk,
    ForkedChunk,
    PackedChunk,
    Rests,
    RewardBatch,
    RowChunk,
)

# Tokens whose logits are held at a time; 1024 of a vocabulary of 150,000 take 0.6 GB in fp32.
TOKENS_AT_ONCE = 1024


def places_of(chunk: PackedChunk | RowChunk) -> list[Tensor]:
    """Return, for every distinct sequence, where its tokens stand among the chunk's ids laid flat."""
    last, device = chunk.last_U.tolist(), chunk.input_ids.device
    if isinstance(chunk, RowChunk):
        width = chunk.input_ids.shape[1]
        return [torch.arange(row * width, row * width + end + 1, device=device) for row, end in enumerate(last)]
    places = []
    for start, prefix, branches in chunk.layout.spans():
        shared, end = torch.arange(start, start + prefix, device=device), start + prefix
        for length in branches:
            places.append(torch.cat([shared, torch.arange(end, end + length, device=device)]))
            end += length
    return places


def places_of_rests(prefix_ids: Tensor, rests: Rests) -> list[Tensor]:
    """Return the same for what goes on from forked caches: the prefixes' ids laid flat, then those of the rests."""
    (groups, prefix), width, device = prefix_ids.shape, rests.input_ids.shape[1], prefix_ids.device
    rows = enumerate(zip(rests.group_U.tolist(), rests.last_U.tolist(), strict=True))
    places = []
    for row, (group, end) in rows:
        start = groups * prefix + row * width
        shared = torch.arange(group * prefix, (group + 1) * prefix, device=device)
        places.append(torch.cat([shared, torch.arange(start, start + end + 1, device=device)]))
    return places


def text_losses(
    weight_VD: Tensor, hidden_ND: Tensor, ids_N: Tensor, places_U: Sequence[Tensor], wanted_U: Tensor
) -> Tensor:
    """Return `-1/(L-1) sum_t log p(x_t | x_<t)` of the wanted sequences, in nats a token; 0 for the others.

    A token and the one after it that several sequences share are computed once.

    Args:
        weight_VD: of the token head, here that of the embeddings.
        places_U: of `places_of`.

    Shapes: wanted_U (U,) bool -> (U,).
    """
    losses_U = torch.zeros(len(places_U), device=hidden_ND.device)
    owners, pairs = [], []
    for number, (places, is_wanted) in enumerate(zip(places_U, wanted_U.tolist(), strict=True)):
        if is_wanted and len(places) > 1:
            pairs.append(torch.stack([places[:-1], places[1:]]))
            owners += [number] * (len(places) - 1)
    if not pairs:
        # A zero with a gradient, so that every process has one.
        return losses_U + 0.0 * hidden_ND.float().sum()
    distinct, index = torch.cat(pairs, dim=1).unique(dim=1, return_inverse=True)
    one = partial(_token_losses, weight_VD)
    parts = [
        checkpoint(one, hidden_ND[here], ids_N[after], use_reentrant=False)
        for here, after in zip(*(side.split(TOKENS_AT_ONCE) for side in distinct), strict=True)
    ]
    owner = torch.tensor(owners, device=hidden_ND.device)
    counts_U = torch.bincount(owner, minlength=len(places_U)).clamp_min(1)
    return losses_U.index_add(0, owner, torch.cat(parts)[index]) / counts_U


def _token_losses(weight_VD: Tensor, hidden_TD: Tensor, ids_T: Tensor) -> Tensor:
    logits_TV = F.linear(hidden_TD.to(weight_VD.dtype), weight_VD).float()
    return F.cross_entropy(logits_TV, ids_T, reduction="none")


@dataclass
class Routing:
    """The router logits of a batch in the order in which they were computed, `[N, E]` each.

    Args:
        num_routers: how many of them one pass through the model leaves.
    """

    num_routers: int
    logits: list[Tensor] = field(default_factory=list)

    def loss(self, core: PreTrainedModel, batch: RewardBatch) -> Tensor:
        """Return the loss times its coefficient, over every row that `batch` asks for."""
        config = core.config.get_text_config()
        top_k = int(getattr(config, "num_experts_per_tok", None) or getattr(config, "num_experts_per_token", 1) or 1)
        passes = list(_passes(batch))
        if len(self.logits) != self.num_routers * len(passes):
            raise ScoringError(f"{len(self.logits)} router outputs do not fit {len(passes)} passes of the model")
        if torch.is_grad_enabled() and not all(logits.requires_grad for logits in self.logits) and _is_reentrant(core):
            raise ConfigError(
                "router outputs have no gradient under reentrant checkpoints, so experts would not be balanced: leave "
                "use_reentrant out of gradient_checkpointing_kwargs, or output_router_logits out of the config"
            )
        chosen, probability, total = (torch.zeros((), device=self.logits[0].device) for _ in range(3))
        for number, logits in enumerate(self.logits):
            weights_N = passes[number // self.num_routers].to(logits.device)
            shares_NE = logits.reshape(len(weights_N), -1).float().softmax(-1)
            picked_NE = torch.zeros_like(shares_NE).scatter_(1, shares_NE.topk(top_k, dim=-1).indices, 1.0)
            chosen = chosen + weights_N @ picked_NE
            probability = probability + weights_N @ shares_NE
            total = total + weights_N.sum()
        balance = len(probability) * (chosen / total * probability / total).sum()
        return float(getattr(config, "router_aux_loss_coef", 0.001)) * balance


def _is_reentrant(core: PreTrainedModel) -> bool:
    """Whether layers are computed without a graph first, and again in the backward pass."""
    layers = (module for module in core.modules() if getattr(module, "gradient_checkpointing", False))
    options = (getattr(getattr(layer, "_gradient_checkpointing_func", None), "keywords", {}) for layer in layers)
    return any(given.get("use_reentrant", True) for given in options)


@contextlib.contextmanager
def recorded_routing(core: PreTrainedModel) -> Iterator[Routing]:
    """Record what every router of `core` gives within the context.

    Raises:
        ConfigError: the config asks for the loss, and transformers does not say where the model's routers are.
    """
    backbone: nn.Module = getattr(core, core.base_model_prefix)
    recorder = (getattr(backbone, "_can_record_outputs", None) or {}).get("router_logits")
    kind, index = getattr(recorder, "target_class", recorder), getattr(recorder, "index", 0)
    routers = [module for module in backbone.modules() if kind is not None and type(module) is kind]
    if not routers:
        raise ConfigError(f"{type(core).__name__} does not give its router logits: leave output_router_logits out")
    routing = Routing(len(routers))

    def record(module: nn.Module, inputs: object, output: tuple[Tensor, ...] | Tensor) -> None:
        routing.logits.append(output if isinstance(output, Tensor) else output[index])

    with contextlib.ExitStack() as handles:
        for router in routers:
            handles.callback(router.register_forward_hook(record).remove)
        yield routing


def _passes(batch: RewardBatch) -> Iterator[Tensor]:
    """Yield, for every pass through the model, in how many rows asked for each of its tokens stands. Shapes: [N]."""
    start = 0
    num_distinct = sum(len(part.last_U) for chunk in batch.chunks for part in _parts(chunk))
    counts = torch.bincount(batch.sequence_B, minlength=num_distinct).float().cpu()
    for chunk in batch.chunks:
        size = sum(len(part.last_U) for part in _parts(chunk))
        yield from _weights(chunk, counts[start : start + size])
        start += size


def _parts(chunk: Chunk) -> Sequence[Rests | PackedChunk | RowChunk]:
    # Features are of a frozen backbone, whose routers are not trained.
    assert not isinstance(chunk, FeatureChunk)
    return chunk.parts if isinstance(chunk, ForkedChunk) else (chunk,)


def _weights(chunk: Chunk, counts_U: Tensor) -> Iterator[Tensor]:
    """Yield the weights of a chunk's passes."""
    if isinstance(chunk, ForkedChunk):
        groups_U = torch.cat([part.group_U for part in chunk.parts]).cpu()
        per_group = torch.zeros(len(chunk.prefix_ids)).index_add_(0, groups_U, counts_U)
        yield per_group.repeat_interleave(chunk.prefix_ids.shape[1])
        for part, counts in zip(chunk.parts, counts_U.split([len(part.last_U) for part in chunk.parts]), strict=True):
            inside = torch.arange(part.input_ids.shape[1]) <= part.last_U.cpu()[:, None]
            yield (inside * counts[:, None]).flatten()
    elif isinstance(chunk, PackedChunk):
        weights, taken = torch.zeros(chunk.layout.num_tokens), 0
        for start, prefix, branches in chunk.layout.spans():
            counts = counts_U[taken : taken + len(branches)]
            weights[start : start + prefix] = counts.sum()
            end = start + prefix + sum(branches)
            weights[start + prefix : end] = counts.repeat_interleave(torch.tensor(branches, dtype=torch.long))
            taken += len(branches)
        yield weights
    elif isinstance(chunk, RowChunk):
        yield (chunk.attention_mask.cpu() * counts_U[:, None]).flatten()
