"""Whether attention over gathered keys is exact here: the kernel over a few tokens, and the model with it.

Both are asked in the precisions in which keys will be gathered: that of the weights, or, where these are of fp32, those
that autocast may choose. Where one differs, FlexAttention stays, which is exact as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from rewardsmith.models.shared_prefix import packing
from rewardsmith.models.shared_prefix.attention import IMPLEMENTATION
from rewardsmith.models.shared_prefix.exactness import (
    HALF_ROUNDING,
    embedding_gradient,
    evaluated,
    far_apart,
    padded_to,
    rows_hidden,
    said_by,
    sample_group,
)
from rewardsmith.models.shared_prefix.forward import pooled_hidden
from rewardsmith.models.shared_prefix.packing import PrefixLayout
from rewardsmith.models.shared_prefix.precision import HALVES
from rewardsmith.models.shared_prefix.varlen import GATHERING, Runs, attend_to_gathered, has_kernel

logger = logging.getLogger(__name__)


def gather_where_exact(core: PreTrainedModel, narrows: bool) -> None:
    """Let a model whose packed attention is exact gather the keys of short sequences, if that is exact too.

    Args:
        narrows: whether its last layer is computed for the scored tokens alone.
    """
    if not has_kernel(core.device):
        return
    precisions = (core.dtype,) if core.dtype in HALVES else HALVES
    differs = [partial(_kernel_difference, core.device, dtype) for dtype in precisions]
    differs += [partial(_gathered_difference, core, narrows, dtype) for dtype in precisions]
    with evaluated(core):
        reason = next(filter(None, (said_by(differ, HALF_ROUNDING) for differ in differs)), "")
    core.set_attn_implementation(IMPLEMENTATION if reason else GATHERING)
    if reason:
        logger.warning("short sequences stay with FlexAttention: over gathered keys %s", reason)


def _kernel_difference(device: torch.device, dtype: torch.dtype, tolerance: float) -> str:
    """Compare the kernel and its gradients with dense attention: grouped heads, with and without a window."""
    layout = PrefixLayout(((5, (4, 6, 1)), (0, (7,))), padding=2)
    generator = torch.Generator().manual_seed(0)
    runs, size = Runs.of(layout, device), (layout.num_tokens, 32)
    for window in (None, 3):
        inputs = [torch.randn(1, heads, *size, generator=generator).to(device, dtype) for heads in (4, 2, 2)]
        mask = layout.dense_mask(window).to(device)
        with torch.enable_grad():
            given = [tensor.requires_grad_() for tensor in inputs]
            ours = attend_to_gathered(given[0], given[1], given[2], runs, (0.3, window))
            wide = [tensor.float() for tensor in given]
            dense = scaled_dot_product_attention(wide[0], wide[1], wide[2], mask, scale=0.3, enable_gqa=True)
            pairs = zip(_with_gradients(ours, given), _with_gradients(dense.transpose(1, 2), given), strict=True)
        for actual, expected in pairs:
            reason = far_apart(actual, expected, f"a kernel with window {window} differs", tolerance)
            if reason:
                return reason
    return ""


def _with_gradients(output: Tensor, inputs: list[Tensor]) -> Iterator[Tensor]:
    """Yield a result and the gradients of a sum in which each of its parts has another weight."""
    yield output.detach()
    weights = torch.linspace(-1, 2, output.numel(), device=output.device).view(output.shape)
    yield from torch.autograd.grad((output.float() * weights).sum(), inputs)


def _gathered_difference(core: PreTrainedModel, narrows: bool, dtype: torch.dtype, tolerance: float) -> str:
    """Compare attention over gathered keys with separate rows, their gradients at the embeddings too."""
    group = sample_group(core)
    packed = replace(packing.pack([group], pad_to=padded_to(core)), narrows=narrows).to(core.device)
    rows = packing.pad_rows([group], pad_token_id=0).to(core.device)
    with torch.autocast(core.device.type, dtype, enabled=core.dtype != dtype):
        with torch.no_grad():
            expected = rows_hidden(core, group)
        expected_gradient = embedding_gradient(core, rows)
        core.set_attn_implementation(GATHERING)
        with torch.no_grad():
            hidden = torch.cat([pooled_hidden(core, chunk, narrows) for chunk in packed.chunks])[packed.sequence_B]
        gradient = embedding_gradient(core, packed)
    return far_apart(hidden, expected, "a few tokens differ", tolerance) or far_apart(
        gradient, expected_gradient, "the gradient of a few tokens differs", tolerance
    )
