"""Shared-prefix attention over gathered keys: CUDA's way for short sequences, where FlexAttention is said to lose.

Every prefix and every branch is a run of queries. A prefix's keys are its own; a branch's are its prefix's and then its
own, so that attention is causal from the end of both. One index gathers the keys of all runs, and torch's
`varlen_attn`, a FlashAttention kernel, attends in all runs at once. What a prefix's key gets back is the sum over its
branches, taken in fp32.

Taken only where the kernel computes the same: CUDA, bf16 or fp16, no soft cap and no sinks (its log-sum-exp has no
gradient). Else, and for long sequences, `attention` goes on with FlexAttention. Which tokens are read of a last layer
is known on the device alone, and asking would wait for it: all queries are computed, as FlexAttention computes them.

Nothing here was run on a GPU. `LONGEST` is a figure of the design, not a measurement: `benchmarks/gpu.py` takes it.

Shapes: L packed tokens, T gathered keys, R runs, H heads, D head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from rewardsmith.models.shared_prefix.attention import mask_without_layout, shared_prefix_attention
from rewardsmith.models.shared_prefix.packing import PrefixLayout
from rewardsmith.models.shared_prefix.precision import HALVES

GATHERING = "rewardsmith_shared_prefix_varlen"
# Tokens of a sequence up to which keys are gathered.
LONGEST = 1024
# Gathered keys of a packed token: the backward pass holds them in every layer, beside all else that it holds of it.
MOST_KEYS = 4
# FlashAttention-2's sizes of heads whose gradient every card from Ampere on computes.
LARGEST_HEAD = 192
Kernel = Callable[..., Any]


@dataclass(frozen=True)
class Runs:
    """Which keys the runs of a layout meet, on the device of the batch.

    Args:
        keys_T: the token of every gathered key.
        query_ends, key_ends: where each run ends among queries and gathered keys, from 0 on. Shapes: [R + 1].
    """

    keys_T: Tensor
    query_ends: Tensor
    key_ends: Tensor
    longest_queries: int
    longest_keys: int

    @classmethod
    def of(cls, layout: PrefixLayout, device: torch.device | str) -> Runs:
        """List the runs, with one copy to the device and no answer from it."""
        runs = [(shared, own) for shared, own in _runs(layout) if own]
        queries, keys = [len(own) for _, own in runs], [len(shared) + len(own) for shared, own in runs]
        places = [torch.arange(part.start, part.stop) for run in runs for part in run]
        ends = [torch.tensor([0, *lengths]).cumsum(0) for lengths in (queries, keys)]
        parts = (torch.cat(places), *ends)
        keys_T, query_ends, key_ends = torch.cat(parts).int().to(device).split([len(part) for part in parts])
        return cls(keys_T, query_ends, key_ends, max(queries), max(keys))


def _runs(layout: PrefixLayout) -> Iterator[tuple[range, range]]:
    """Yield the tokens that a run meets before its own, and its own; padding is a prefix without branches."""
    for start, prefix, branches in layout.spans():
        begin = start + prefix
        shared = range(start, begin)
        yield range(0), shared
        for length in branches:
            yield shared, range(begin, begin := begin + length)


def runs_of(layout: PrefixLayout, device: torch.device) -> Runs | None:
    """Return the runs of a short layout, made once a batch; None where FlexAttention should attend."""

    def make() -> Runs | None:
        # Keys that were kept from elsewhere have no place in the index.
        if layout.memory is not None or layout.longest_sequence > LONGEST:
            return None
        runs = Runs.of(layout, device)
        return runs if len(runs.keys_T) <= MOST_KEYS * layout.num_tokens else None

    return layout.once(("runs", device), make)


@cache
def kernel() -> Kernel | None:
    """Return torch's `varlen_attn`; None where it knows no grouped heads and no windows, as before torch 2.12."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"scale", "window_size", "enable_gqa"} <= known.keys() else None


@cache
def has_kernel(device: torch.device) -> bool:
    """Whether the kernel runs on a device: on an NVIDIA card from Ampere on."""
    if device.type != "cuda" or torch.version.hip is not None or kernel() is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def takes(query: Tensor, value: Tensor) -> bool:
    """Whether the kernel computes heads of this size and precision."""
    size = query.shape[-1]
    return query.dtype in HALVES and size == value.shape[-1] and size % 8 == 0 and size <= LARGEST_HEAD


def gathering_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix_layout: PrefixLayout | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend over gathered keys where the kernel can, else as `shared_prefix_attention` does.

    Shapes: query [1, H, L, D], key and value [1, H_kv, L, D] -> [1, L, H, D].
    """
    if prefix_layout is not None and has_kernel(query.device) and not _is_bent(module, options):
        if torch.is_autocast_enabled(query.device.type):
            # Rotary embeddings leave query and key in fp32 beside a half value; autocast does not know the kernel.
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        runs = runs_of(prefix_layout, query.device) if takes(query, value) else None
        if runs is not None:
            scores = (options.get("scaling"), options.get("sliding_window"))
            return attend_to_gathered(query, key, value, runs, scores), None
    return shared_prefix_attention(module, query, key, value, attention_mask, prefix_layout, **options)


def _is_bent(module: torch.nn.Module, options: dict[str, Any]) -> bool:
    """Whether scores become weights otherwise than by scale and window, or weights are dropped."""
    names = ("softcap", "s_aux", "position_bias")
    return any(options.get(name) is not None for name in names) or bool(module.training and options.get("dropout"))


def attend_to_gathered(
    query: Tensor, key: Tensor, value: Tensor, runs: Runs, scores: tuple[float | None, int | None]
) -> Tensor:
    """Attend in all runs at once.

    Args:
        scores: their scale, and the window: how many keys a query sees, itself among them.

    Shapes: query [1, H, L, D], key and value [1, H_kv, L, D] -> [1, L, H, D].
    """
    scale, window = scores
    attend = kernel()
    assert attend is not None, "runs are made where there is a kernel"
    # The kernel counts the keys before a query without itself; nothing after it is seen.
    left = -1 if window is None or window >= runs.longest_keys else window - 1
    queries_LHD, keys_LHD, values_LHD = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    attended_LHD: Tensor = attend(
        queries_LHD.contiguous(),
        _gathered(keys_LHD, runs.keys_T),
        _gathered(values_LHD, runs.keys_T),
        *(runs.query_ends, runs.key_ends, runs.longest_queries, runs.longest_keys),
        scale=scale,
        window_size=(left, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended_LHD[None]


def _gathered(tensor_LHD: Tensor, index_T: Tensor) -> Tensor:
    """Return rows by their index. Gradients are summed in fp32: in bf16 each of many branches would round the sum."""
    wide = tensor_LHD.to(torch.promote_types(tensor_LHD.dtype, torch.float32))
    return wide.index_select(0, index_T).to(tensor_LHD.dtype)


# A compiler would compile it anew for every layout.
AttentionInterface.register(GATHERING, torch.compiler.disable(gathering_attention))
AttentionMaskInterface.register(GATHERING, mask_without_layout)
