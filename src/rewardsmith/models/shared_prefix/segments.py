"""Attention of a packed layout in parts, on the CPU: no mask is built, and no key is copied for each answer.

Every segment (a prefix, or an answer's own tokens) attends causally to itself, and all answers of a group attend to
their prefix in one call without a mask. A softmax over both parts is the parts' outputs weighted by
`exp(lse_part - lse)`, and the backward of each part is the ordinary one with the merged output and log-sum-exp: the
decomposition of FlashAttention-2 (arXiv 2307.08691, section 3.1) at the border between prefix and answer. A long
segment is cut into halves in the same way, again and again, since the kernel computes most of what lies above the
diagonal too. Padding short segments into one batch was tried and was slower: the copies cost more than the calls.

Shapes: L packed tokens, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rewardsmith.models.shared_prefix.packing import PrefixLayout
from rewardsmith.models.shared_prefix.store import Span

# From here on two halves and their meeting cost less, forward and backward, than one causal square.
HALVED_FROM = 256


@dataclass(frozen=True)
class SegmentPlan:
    """Where a packed batch's causal segments and its (answers, prefix) pairs lie; made once a batch.

    Args:
        segments: queries that attend causally to as many keys, such as a prefix or an answer to itself.
        prefixes: queries that attend to all of these keys: per group all its answers' tokens, and the prefix's.
    """

    segments: tuple[tuple[slice, slice], ...]
    prefixes: tuple[tuple[slice, slice], ...]

    @cached_property
    def halved(self) -> SegmentPlan:
        """Return the same attention with no segment of `HALVED_FROM` tokens or more."""
        long, short, seen = list(self.segments), [], []
        while long:
            own, keys = long.pop()
            half = (own.stop - own.start) // 2
            if 2 * half < HALVED_FROM:
                short.append((own, keys))
                continue
            early, late = slice(keys.start, keys.start + half), slice(own.start + half, own.stop)
            seen.append((late, early))
            long += [(slice(own.start, late.start), early), (late, slice(early.stop, keys.stop))]
        return SegmentPlan(tuple(short), (*seen, *self.prefixes))

    @classmethod
    def after(cls, num_read: int, num_tokens: int) -> SegmentPlan:
        """Plan for rows that go on from a cache: they see every token read before, and themselves causally."""
        own = slice(0, num_tokens)
        return cls(((own, slice(num_read, num_read + num_tokens)),), ((own, slice(0, num_read)),))

    @classmethod
    def of(cls, spans: Sequence[Span], kept: Sequence[int] = ()) -> SegmentPlan:
        """Plan for groups given as (start, prefix length, branch lengths).

        Args:
            kept: per group how many keys it goes on from; they stand before all others, in order of the groups.
        """
        num_kept = sum(kept)
        prefixes = [
            (slice(start + prefix, start + prefix + sum(branches)), _later(slice(start, start + prefix), num_kept))
            for start, prefix, branches in spans
            if prefix and branches
        ]
        before = 0
        for (start, prefix, branches), length in zip(spans, kept, strict=False):
            if length:
                prefixes.append((slice(start, start + prefix + sum(branches)), slice(before, before + length)))
            before += length
        return cls(tuple((own, _later(own, num_kept)) for own in _segments(spans)), tuple(prefixes))


def _segments(spans: Sequence[Span]) -> Iterator[slice]:
    """Yield the place of everything that attends to itself; padding is a prefix without branches."""
    for start, prefix, branches in spans:
        for length in (prefix, *branches):
            if length:
                yield slice(start, start + length)
            start += length


def _later(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def segment_plan(layout: PrefixLayout) -> SegmentPlan:
    """Return the plan of a batch's segments, made once a batch."""
    return layout.once("segments", lambda: SegmentPlan.of(tuple(layout.spans()), layout.kept_lengths()))


_FORWARD = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_BACKWARD = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


def is_available(query: Tensor, value: Tensor) -> bool:
    """Whether this torch has the kernels with a log-sum-exp, for this device, precision and size of heads."""
    kernels = _FORWARD is not None and _BACKWARD is not None
    known = query.device.type == "cpu" and query.dtype in (torch.float32, torch.bfloat16, torch.float64)
    return kernels and known and query.shape[-1] == value.shape[-1]


def attend_by_segments(
    query: Tensor, key: Tensor, value: Tensor, plan: SegmentPlan, scores: tuple[float | None, Tensor | None]
) -> Tensor:
    """Attend inside every segment and from every answer to its prefix.

    Args:
        scores: their scale, and the logit of each head's sink: one more term of every softmax, whose value is zero.

    Shapes: query, key, value [1, H, L, D] -> [1, H, L, D], laid out in memory as [1, L, H, D]; sinks [H]. A plan of
    `SegmentPlan.after` takes [U, H, L, D], with keys and values of the tokens read before as well.
    """
    if torch.is_autocast_enabled("cpu"):
        # Rotary embeddings leave query and key in fp32 beside a bf16 value; autocast knows SDPA, not its kernels.
        query, key, value = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (query, key, value))
    # Each meeting of two parts rounds the output, which bf16 would notice.
    return _SegmentAttention.apply(query, key, value, plan if query.dtype == torch.bfloat16 else plan.halved, *scores)


class _SegmentAttention(torch.autograd.Function):
    """One node of the graph for all segments of a batch."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: SegmentPlan, *scores: Any) -> Tensor:
        scale, sinks_H = scores
        assert _FORWARD is not None
        output = _token_major(query)
        lse = query.new_empty(query.shape[:3], dtype=torch.float64 if query.dtype == torch.float64 else torch.float32)
        for part, keys in plan.segments:
            own = (query[:, :, part], key[:, :, keys], value[:, :, keys])
            output[:, :, part], lse[:, :, part] = _FORWARD(*own, 0.0, True, scale=scale)
        for answers, prefix in plan.prefixes:
            shared = (query[:, :, answers], key[:, :, prefix], value[:, :, prefix])
            extra, extra_lse = _FORWARD(*shared, 0.0, False, scale=scale)
            _merge(output[:, :, answers], lse[:, :, answers], extra, extra_lse)
        if sinks_H is not None:
            merged = torch.logaddexp(lse, sinks_H.to(lse.dtype)[:, None])
            output.mul_((lse - merged).exp_()[..., None])
            lse = merged
        ctx.save_for_backward(query, key, value, output, lse, sinks_H)
        ctx.plan, ctx.scale = plan, scale
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        assert _BACKWARD is not None
        query, key, value, output, lse, sinks_H = ctx.saved_tensors
        grads = [_token_major(tensor) for tensor in (query, key, value)]
        if key.shape[2] > query.shape[2]:
            # Keys of tokens that were read before stand in no segment.
            for whole in grads[1:]:
                whole.zero_()
        for part, keys in ctx.plan.segments:
            found = _BACKWARD(
                *(grad[:, :, part], query[:, :, part], key[:, :, keys], value[:, :, keys]),
                *(output[:, :, part], lse[:, :, part], 0.0, True),
                scale=ctx.scale,
            )
            for whole, place, own in zip(grads, (part, keys, keys), found, strict=True):
                whole[:, :, place] = own
        for answers, prefix in ctx.plan.prefixes:
            found = _BACKWARD(
                *(grad[:, :, answers], query[:, :, answers], key[:, :, prefix], value[:, :, prefix]),
                *(output[:, :, answers], lse[:, :, answers], 0.0, False),
                scale=ctx.scale,
            )
            for whole, place, extra in zip(grads, (answers, prefix, prefix), found, strict=True):
                whole[:, :, place] += extra
        of_sinks = None
        if sinks_H is not None:
            weight = (sinks_H.to(lse.dtype)[:, None] - lse).exp_()
            of_sinks = -(weight * (grad * output).sum(-1)).sum((0, 2)).to(sinks_H.dtype)
        return (*grads, None, None, of_sinks)


def _token_major(like: Tensor) -> Tensor:
    """Return an uninitialised [1, H, L, D] tensor in the memory order of [1, L, H, D], which the next product reads."""
    batch, heads, tokens, size = like.shape
    return like.new_empty(batch, tokens, heads, size).transpose(1, 2)


def _merge(output: Tensor, lse: Tensor, extra: Tensor, extra_lse: Tensor) -> None:
    """Merge the second part of a softmax into the first, in place. Shapes: [1, H, L, D] and [1, H, L]."""
    merged = torch.logaddexp(lse, extra_lse)
    own_share = (lse - merged).exp_()[..., None]
    extra_share = (extra_lse - merged).exp_()[..., None]
    output.copy_(output * own_share + extra * extra_share)
    lse.copy_(merged)
