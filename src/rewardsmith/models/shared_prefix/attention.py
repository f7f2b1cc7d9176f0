"""Shared-prefix attention: every distinct token of a prompt and its answers is computed once.

All sequences of a group are packed as `[shared prefix][rest of answer 1][rest of answer 2]...`. A prefix token attends
to the prefix before it; an answer's token attends to the whole prefix and to its own answer before it. With positions
that restart after the prefix, every hidden state equals that of the separate rows: exact, not an approximation.
The idea for pairs: "Accelerating Direct Preference Optimization with Prefix Sharing" (arXiv 2410.20305); here for K
answers and without repeating a token, since a reward needs no next-token logits.

The function is registered with transformers' attention interface, so no model code is copied. On CUDA it runs
FlexAttention with a BlockMask (short sequences: `varlen`); on the CPU it attends by segments, or by one masked SDPA per
segment for windows and soft caps. Without a layout (an ordinary call of the same model) it is transformers' own SDPA.

By segments: every segment (a prefix, or an answer's own tokens) attends causally to itself, and all answers of a group
attend to their prefix in one call without a mask. A softmax over both parts is the parts' outputs weighted by
`exp(lse_part - lse)`, and the backward of each part is the ordinary one with the merged output and log-sum-exp: the
decomposition of FlashAttention-2 (arXiv 2307.08691, section 3.1) at the border between prefix and answer. No key is
copied for each answer, and no mask is built. A long segment is cut into halves in the same way, again and again, since
the kernel computes most of what lies above the diagonal too. Padding short segments into one batch was tried and was
slower: the copies cost more than the calls.

Shapes: G groups, L packed tokens, H heads, D head size, `query [1, H, L, D]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.packing import PrefixLayout
from rewardsmith.models.shared_prefix.store import Span

IMPLEMENTATION = "rewardsmith_shared_prefix"
# From here on two halves and their meeting cost less, forward and backward, than one causal square.
HALVED_FROM = 256


@dataclass(frozen=True)
class _Scores:
    """How scores become weights: their scale, soft cap and window, and the sinks.

    Args:
        sinks_H: a logit per head that takes weight and has no value. Shapes: [H].
    """

    scaling: float | None = None
    softcap: float | None = None
    window: int | None = None
    sinks_H: Tensor | None = None


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix_layout: PrefixLayout | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend inside the layout; the signature is that of transformers' attention interface.

    Shapes: query [1, H, L, D], key and value [1, H_kv, L, D] -> [1, L, H, D].

    Raises:
        ScoringError: position biases or dropout, which this computation cannot keep exact.
    """
    names = ("scaling", "softcap", "sliding_window", "s_aux")
    how = _Scores(*(options.get(name) for name in names))
    if prefix_layout is None:
        if attention_mask is None and key.shape[2] > query.shape[2] > 1:
            drops = module.training and options.get("dropout")
            if how.softcap is None and not drops and is_available(query, value):
                return _go_on(module, query, key, value, how), None
            attention_mask = _causal_after(query, key)[None, None]
        if how.softcap is None and how.sinks_H is None:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return _plainly(module, query, key, value, attention_mask, how), None
    if options.get("position_bias") is not None:
        message = f"{type(module).__name__} uses position_bias, which shared-prefix attention cannot keep exact"
        raise ScoringError(message)
    if module.training and options.get("dropout"):
        raise ScoringError("shared-prefix attention is exact only without attention dropout; set disable_dropout=True")
    if query.device.type == "cuda":
        block_mask = prefix_layout.block_mask(how.window, query.device)
        return flex_attention_forward(
            module, query, key, value, block_mask, scaling=how.scaling, softcap=how.softcap, s_aux=how.sinks_H
        )
    if prefix_layout.memory is not None:
        key, value = prefix_layout.memory.extended(key, value, prefix_layout.spans())
    groups = getattr(module, "num_key_value_groups", query.shape[1] // key.shape[1])
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if prefix_layout.has_few_queries():
        return _attend_from_queries(query, key, value, prefix_layout, how), None
    cuts = how.window is not None and how.window < prefix_layout.longest_sequence
    if how.softcap is None and not cuts and is_available(query, value):
        attended = attend_by_segments(query, key, value, segment_plan(prefix_layout), (how.scaling, how.sinks_H))
    else:
        attended = _attend_with_masks(query, key, value, prefix_layout, how)
    return attended.transpose(1, 2).contiguous(), None


def _attend_from_queries(query: Tensor, key: Tensor, value: Tensor, layout: PrefixLayout, how: _Scores) -> Tensor:
    """Attend from the tokens that are read alone; the others' output is zero. Shapes: [1, H, L, D] -> [1, L, H, D]."""
    queries_U = layout.queries_U
    assert queries_U is not None
    chosen = query.index_select(2, queries_U)
    attended = _attend(chosen, key, value, layout.query_mask(how.window), how).transpose(1, 2)
    return attended.new_zeros(1, layout.num_tokens, *attended.shape[2:]).index_copy(1, queries_U, attended)


def _attend_with_masks(query: Tensor, key: Tensor, value: Tensor, layout: PrefixLayout, how: _Scores) -> Tensor:
    """Run one masked attention per prefix and per branch, as windows and soft caps need it.

    Shapes: all [1, H, L, D] -> [1, H, L, D].
    """
    window = how.window
    # One split instead of many slices: a slice's gradient is a tensor of full length, a split's is one concatenation.
    lengths = [n for _, prefix, branches in layout.spans() for n in (prefix, *branches)]
    kept_lengths = layout.kept_lengths()
    kept = zip(*(tensor[:, :, : sum(kept_lengths)].split(kept_lengths, dim=2) for tensor in (key, value)), strict=True)
    key, value = key[:, :, sum(kept_lengths) :], value[:, :, sum(kept_lengths) :]
    pieces = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = []
    for (_, prefix, branches), before, num_kept in zip(layout.spans(), kept, kept_lengths, strict=True):
        prefix_query, prefix_key, prefix_value = next(pieces)
        if num_kept:
            prefix_key, prefix_value = torch.cat([before[0], prefix_key], 2), torch.cat([before[1], prefix_value], 2)
        if prefix:
            causal = (window is None or prefix <= window) and how.softcap is None and how.sinks_H is None
            mask = None if causal and not num_kept else layout.branch_mask(num_kept, prefix, window, query.device)
            outputs.append(_attend(prefix_query, prefix_key, prefix_value, mask, how))
        prefix += num_kept
        for length in branches:
            own_query, own_key, own_value = next(pieces)
            if prefix:
                own_key = torch.cat([prefix_key, own_key], dim=2)
                own_value = torch.cat([prefix_value, own_value], dim=2)
            mask = layout.branch_mask(prefix, length, window, query.device)
            outputs.append(_attend(own_query, own_key, own_value, mask, how))
    return torch.cat(outputs, dim=2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: _Scores) -> Tensor:
    """Attend with a boolean mask, or causally where the mask is None (without soft cap and sinks)."""
    scale = query.shape[-1] ** -0.5 if how.scaling is None else how.scaling
    if how.sinks_H is not None:
        query, key, value, mask = _with_sink_key(query, key, value, mask, how.sinks_H / scale)
    if how.softcap is None:
        attended = F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None, scale=scale)
        return attended if how.sinks_H is None else attended[..., :-1]
    scores = how.softcap * torch.tanh(query @ key.transpose(-1, -2) * scale / how.softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype) @ value


def _with_sink_key(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, logits_H: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Add a key that every query meets with its head's logit, and whose value is zero: one feature more says so."""
    assert mask is not None, "a sink is seen beside the keys of a mask"
    batch, heads, _, size = key.shape
    sink = F.pad(logits_H.to(key.dtype)[None, :, None, None], (size, 0)).expand(batch, heads, 1, size + 1)
    key = torch.cat([F.pad(key, (0, 1)), sink], dim=2)
    return F.pad(query, (0, 1), value=1.0), key, F.pad(value, (0, 1, 0, 1)), F.pad(mask, (0, 1), value=True)


def _go_on(module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, how: _Scores) -> Tensor:
    """Attend from rows that go on from a cache, whose mask `mask_without_layout` left out.

    Shapes: query [U, H, L, D], key and value [U, H_kv, P + L, D] -> [U, L, H, D].
    """
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    plan = SegmentPlan.after(key.shape[2] - query.shape[2], query.shape[2])
    return attend_by_segments(query, key, value, plan, (how.scaling, how.sinks_H)).transpose(1, 2).contiguous()


def _causal_after(query: Tensor, key: Tensor) -> Tensor:
    """Return which keys each query sees where the last query stands at the last key. Shapes: -> [L, P + L]."""
    length, keys = query.shape[2], key.shape[2]
    return torch.ones(length, keys, dtype=torch.bool, device=query.device).tril(keys - length)


def _plainly(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, how: _Scores
) -> Tensor:
    """Attend in an ordinary call of a model with soft caps or sinks, which SDPA does not know."""
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if attention_mask is None:
        attention_mask = _causal_after(query, key)
    return _attend(query, key, value, attention_mask, how).transpose(1, 2).contiguous()


def mask_without_layout(*args: Any, **kwargs: Any) -> Tensor | None:
    """Build the mask of an ordinary call. A packed call passes a 4-D tensor, so this is never reached then.

    Rows that go on from a cache need none where they are plainly causal: it would take 5 bytes for each pair of tokens.
    """
    length, start = kwargs["q_length"], kwargs.get("q_offset", 0)
    plain = kwargs.get("mask_function") is causal_mask_function and kwargs.get("attention_mask") is None
    may_be_left_out = kwargs.get("allow_is_causal_skip", True) and kwargs.get("local_size") is None
    # A static cache gives a tensor, and keys that are not there yet.
    ends_here = isinstance(start, int) and not kwargs.get("kv_offset", 0) and kwargs["kv_length"] == start + length
    if plain and may_be_left_out and ends_here and length > 1:
        return None
    return sdpa_mask(*args, **kwargs)


# A compiler would compile it anew for every layout.
AttentionInterface.register(IMPLEMENTATION, torch.compiler.disable(shared_prefix_attention))
AttentionMaskInterface.register(IMPLEMENTATION, mask_without_layout)


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
