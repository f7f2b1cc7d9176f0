"""Segment attention gives what one dense masked attention gives, forward and backward."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rewardsmith.models.shared_prefix.attention import PrefixLayout
from rewardsmith.models.shared_prefix.segment_attention import attend_by_segments, is_available

LAYOUTS = {
    "pairs": PrefixLayout(((7, (3, 5)), (4, (1, 1)))),
    "empty prefix": PrefixLayout(((0, (6, 2, 9)),)),
    "a branch of no tokens": PrefixLayout(((8, (0, 4)),)),
    "prefix longer than all else": PrefixLayout(((70, (1, 2)), (2, (3,)))),
    "padding": PrefixLayout(((5, (2, 3)),), padding=6),
    "twelve answers": PrefixLayout(((9, tuple(range(1, 13))),)),
}


def dense_mask(layout):
    mask = torch.zeros(layout.num_tokens, layout.num_tokens, dtype=torch.bool)
    for start, prefix, branches in layout.spans():
        own = start
        for length in (prefix, *branches):
            mask[own : own + length, own : own + length] = torch.ones(length, length).tril().bool()
            if own >= start + prefix:
                mask[own : own + length, start : start + prefix] = True
            own += length
    return mask


def inputs(layout, dtype):
    torch.manual_seed(0)
    return [torch.randn(1, 2, layout.num_tokens, 16, dtype=dtype, requires_grad=True) for _ in range(3)]


def both(layout, dtype, scale):
    found = []
    weight = torch.randn(1, 2, layout.num_tokens, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    for attend in (
        lambda *qkv: attend_by_segments(*qkv, layout.segment_plan(), (scale, None)),
        lambda *qkv: scaled_dot_product_attention(*qkv, attn_mask=dense_mask(layout), scale=scale),
    ):
        tensors = inputs(layout, dtype)
        output = attend(*tensors)
        (output * weight).sum().backward()
        found.append([output.detach(), *(tensor.grad for tensor in tensors)])
    return zip(*found, strict=True)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("scale", [None, 0.5])
def test_outputs_and_gradients_equal_dense_masked_attention_in_float64(name, scale):
    for ours, dense in both(LAYOUTS[name], torch.float64, scale):
        torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_lower_precision_stays_within_its_rounding(dtype, tolerance):
    for ours, dense in both(LAYOUTS["twelve answers"], dtype, None):
        torch.testing.assert_close(ours, dense, rtol=tolerance, atol=tolerance)


def test_scores_too_large_for_exp_stay_finite_and_exact():
    layout = LAYOUTS["pairs"]
    query, key, value = (tensor.detach() for tensor in inputs(layout, torch.float32))
    query, key = query * 60, key * 60
    ours = attend_by_segments(query, key, value, layout.segment_plan(), (None, None))
    dense = scaled_dot_product_attention(query, key, value, attn_mask=dense_mask(layout))
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)


def test_the_kernels_are_there_in_the_tested_torch():
    assert is_available(torch.zeros(1), torch.zeros(1))
    assert not is_available(torch.zeros(1, dtype=torch.float16), torch.zeros(1, dtype=torch.float16))
    assert not is_available(torch.zeros(1, 8), torch.zeros(1, 4))


def with_sinks(query, key, value, sinks_H, mask):
    """Softmax over the keys and one term more, which has no value."""
    scores = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf)
    sink = sinks_H[None, :, None, None].expand(*scores.shape[:3], 1)
    return torch.cat([scores, sink], -1).softmax(-1)[..., :-1] @ value


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_sink_is_one_more_term_of_every_softmax_and_has_its_gradient(name):
    layout, found = LAYOUTS[name], []
    weight = torch.randn(1, 2, layout.num_tokens, 16, generator=torch.Generator().manual_seed(1)).double()
    for ours in (True, False):
        tensors = inputs(layout, torch.float64)
        sinks_H = torch.tensor([0.5, -1.5], dtype=torch.float64, requires_grad=True)
        if ours:
            output = attend_by_segments(*tensors, layout.segment_plan(), (None, sinks_H))
        else:
            output = with_sinks(*tensors, sinks_H, dense_mask(layout))
        (output * weight).sum().backward()
        found.append([output.detach(), *(tensor.grad for tensor in tensors), sinks_H.grad])
    for ours, dense in zip(*found, strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)
