"""Attention in parts equals dense masked attention, outputs and gradients."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rewardsmith.models.shared_prefix import segments
from rewardsmith.models.shared_prefix.packing import PrefixLayout
from rewardsmith.models.shared_prefix.segments import attend_by_segments, is_available, segment_plan

LAYOUTS = {
    "pairs": PrefixLayout(((7, (3, 5)), (4, (1, 1)))),
    "empty prefix": PrefixLayout(((0, (6, 2, 9)),)),
    "a branch of no tokens": PrefixLayout(((8, (0, 4)),)),
    "prefix longer than all else": PrefixLayout(((70, (1, 2)), (2, (3,)))),
    "padding": PrefixLayout(((5, (2, 3)),), padding=6),
    "twelve answers": PrefixLayout(((9, tuple(range(1, 13))),)),
    "halved twice, and an odd length": PrefixLayout(((600, (3, 257)), (0, (255,)))),
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
        lambda *qkv: attend_by_segments(*qkv, segment_plan(layout), (scale, None)),
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


def test_long_segments_are_halved_until_each_pair_of_tokens_is_met_once_in_short_ones():
    layout = LAYOUTS["halved twice, and an odd length"]
    plan = segment_plan(layout).halved
    assert max(own.stop - own.start for own, _ in plan.segments) < segments.HALVED_FROM
    met = torch.zeros(layout.num_tokens, layout.num_tokens, dtype=torch.int)
    for own, keys in plan.segments:
        met[own, keys] += torch.ones(own.stop - own.start, keys.stop - keys.start, dtype=torch.int).tril()
    for queries, keys in plan.prefixes:
        met[queries, keys] += 1
    assert torch.equal(met, dense_mask(layout).int())


def test_rows_that_go_on_from_a_cache_are_halved_too():
    torch.manual_seed(0)
    query, (key, value) = torch.randn(2, 2, 300, 8), torch.randn(2, 2, 2, 330, 8)
    ours = attend_by_segments(query, key, value, segments.SegmentPlan.after(30, 300), (None, None))
    mask = torch.ones(300, 330).tril(30).bool()
    torch.testing.assert_close(ours, scaled_dot_product_attention(query, key, value, mask), rtol=1e-5, atol=1e-5)


def test_bf16_meets_no_more_parts_than_it_must(monkeypatch):
    monkeypatch.setattr(segments, "HALVED_FROM", 4)
    query, key, value = (tensor.detach() for tensor in inputs(LAYOUTS["pairs"], torch.bfloat16))
    few = attend_by_segments(query, key, value, segment_plan(LAYOUTS["pairs"]), (None, None))
    monkeypatch.undo()
    assert torch.equal(few, attend_by_segments(query, key, value, segment_plan(LAYOUTS["pairs"]), (None, None)))


def test_scores_too_large_for_exp_stay_finite_and_exact():
    layout = LAYOUTS["pairs"]
    query, key, value = (tensor.detach() for tensor in inputs(layout, torch.float32))
    query, key = query * 60, key * 60
    ours = attend_by_segments(query, key, value, segment_plan(layout), (None, None))
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
            output = attend_by_segments(*tensors, segment_plan(layout), (None, sinks_H))
        else:
            output = with_sinks(*tensors, sinks_H, dense_mask(layout))
        (output * weight).sum().backward()
        found.append([output.detach(), *(tensor.grad for tensor in tensors), sinks_H.grad])
    for ours, dense in zip(*found, strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)
