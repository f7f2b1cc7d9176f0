"""The load-balancing loss of mixtures of experts, as separate rows would give it.

The loss (Fedus et al. 2021, "Switch Transformers", equations 4 to 6, as transformers computes it) counts how often each
expert is chosen. A token of a shared prefix is computed once but stands in many rows, so it is counted once a row.

Shapes: B sequences asked for, U distinct sequences, N tokens of one pass, E experts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
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


def balances_experts(core: PreTrainedModel) -> bool:
    """Whether the config asks for the loss, by transformers' `output_router_logits`, and the model is in training."""
    return core.training and bool(getattr(core.config.get_text_config(), "output_router_logits", False))


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
