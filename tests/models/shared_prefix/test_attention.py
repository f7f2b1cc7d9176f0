"""Attention over a packed layout equals dense masked attention, by segments and by flex attention."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rewardsmith.models.shared_prefix import attention
from rewardsmith.models.shared_prefix.attention import (
    attend_by_segments,
    is_available,
    segment_plan,
    shared_prefix_attention,
)
from rewardsmith.models.shared_prefix.packing import PrefixLayout


def random_layout() -> PrefixLayout:
    return PrefixLayout(((40, (30, 20, 1)), (0, (50,)), (7, (9, 60))), padding=39)


@pytest.mark.parametrize("window", [None, 13])
def test_the_block_mask_of_flex_attention_equals_the_dense_reference(window):
    layout = random_layout()
    block = layout.block_mask(window, torch.device("cpu"))
    index = torch.arange(layout.num_tokens)
    zero = torch.tensor(0)
    dense = block.mask_mod(zero, zero, index[:, None], index[None, :])
    assert torch.equal(dense, layout.dense_mask(window))
    assert layout.block_mask(window, torch.device("cpu")) is block


@pytest.mark.parametrize("window", [None, 13, 300])
@pytest.mark.parametrize("padding", [0, 177])
def test_the_block_mask_lists_the_blocks_that_flex_attention_would_find(window, padding):
    from torch.nn.attention.flex_attention import create_block_mask

    layout = PrefixLayout(((500, (130, 290, 1)), (0, (50,)), (7, (129, 60))), padding=padding)
    ours, length = layout.block_mask(window, torch.device("cpu")), layout.num_tokens
    found = create_block_mask(ours.mask_mod, None, None, length, length, device="cpu")
    assert ours.shape == found.shape == (1, 1, length, length)
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(ours, name), getattr(found, name)), name
    for name in ("kv_indices", "full_kv_indices", "q_indices", "full_q_indices"):
        assert torch.equal(getattr(ours, name), getattr(found, name)), name
    assert bool((ours.full_kv_num_blocks > 0).any()) == (window != 13)


@pytest.mark.parametrize("window", [None, 13])
@pytest.mark.parametrize("softcap", [None, 0.05])
def test_segments_and_flex_attention_compute_the_dense_attention(window, softcap):
    from transformers.integrations.flex_attention import flex_attention_forward

    layout = random_layout()
    torch.manual_seed(0)
    module = torch.nn.Module().eval()
    module.num_key_value_groups = 2
    query = torch.randn(1, 4, layout.num_tokens, 16)
    key, value = torch.randn(2, 1, 2, layout.num_tokens, 16)
    options = {"scaling": 0.25, "softcap": softcap}
    segments, _ = shared_prefix_attention(
        module, query, key, value, None, prefix_layout=layout, sliding_window=window, **options
    )
    scores = query @ key.repeat_interleave(2, 1).transpose(-1, -2) * 0.25
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~layout.dense_mask(window), -torch.inf)
    dense = (scores.softmax(-1) @ value.repeat_interleave(2, 1)).transpose(1, 2)
    assert torch.allclose(segments, dense, atol=1e-5)
    block = layout.block_mask(window, query.device)
    with torch.no_grad():
        flexed, _ = flex_attention_forward(module, query, key, value, block, **options)
    assert torch.allclose(flexed, dense, atol=1e-5)


@pytest.mark.parametrize("window", [None, 13])
def test_sinks_take_weight_from_every_key_by_segments_and_by_masks(window):
    layout = random_layout()
    torch.manual_seed(0)
    module = torch.nn.Module().eval()
    module.num_key_value_groups = 2
    query = torch.randn(1, 4, layout.num_tokens, 16)
    key, value = torch.randn(2, 1, 2, layout.num_tokens, 16)
    options = {"scaling": 0.25, "s_aux": torch.tensor([1.0, -2.0, 0.0, 3.0])}
    ours, _ = shared_prefix_attention(
        module, query, key, value, None, prefix_layout=layout, sliding_window=window, **options
    )
    dense = dense_with_sinks(query, key, value, layout.dense_mask(window), options["s_aux"])
    assert torch.allclose(ours, dense, atol=1e-5)


def test_an_ordinary_call_knows_sinks_too():
    torch.manual_seed(0)
    module = torch.nn.Module().eval()
    module.num_key_value_groups = 2
    query, sinks_H = torch.randn(1, 4, 9, 16), torch.tensor([1.0, -2.0, 0.0, 3.0])
    key, value = torch.randn(2, 1, 2, 9, 16)
    plain, _ = shared_prefix_attention(module, query, key, value, None, scaling=0.25, s_aux=sinks_H)
    causal = torch.ones(9, 9, dtype=torch.bool).tril()
    assert torch.allclose(plain, dense_with_sinks(query, key, value, causal, sinks_H), atol=1e-5)


def dense_with_sinks(query, key, value, mask, sinks_H):
    scores = query @ key.repeat_interleave(2, 1).transpose(-1, -2) * 0.25
    scores = scores.masked_fill(~mask, -torch.inf)
    sink = sinks_H[None, :, None, None].expand(*scores.shape[:3], 1)
    weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
    return (weights @ value.repeat_interleave(2, 1)).transpose(1, 2)


@pytest.mark.parametrize("change", [{}, {"softcap": 0.05}, {"s_aux": torch.tensor([1.0, -2.0, 0.0, 3.0])}])
def test_rows_that_go_on_from_a_cache_need_no_mask(change):
    torch.manual_seed(0)
    module = torch.nn.Module().eval()
    module.num_key_value_groups, module.is_causal = 2, True
    inputs = [torch.randn(3, heads, length, 16, requires_grad=True) for heads, length in ((4, 5), (2, 12), (2, 12))]
    mask = torch.ones(5, 12, dtype=torch.bool).tril(7)[None, None].expand(3, 1, 5, 12)
    found = []
    for given in (None, mask):
        output, _ = shared_prefix_attention(module, *inputs, given, scaling=0.25, **change)
        found.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for ours, masked in zip(*found, strict=True):
        torch.testing.assert_close(ours, masked, rtol=1e-5, atol=1e-6)


def test_no_mask_is_built_where_rows_go_on_and_windows_and_padding_keep_theirs():
    from transformers.masking_utils import causal_mask_function

    sizes = {"batch_size": 2, "q_length": 3, "kv_length": 8, "q_offset": 5, "mask_function": causal_mask_function}
    padding = torch.tensor([[False, *[True] * 7], [True] * 8])
    assert attention.mask_without_layout(**sizes) is None
    assert attention.mask_without_layout(**sizes, local_size=4).shape == (2, 1, 3, 8)
    assert not attention.mask_without_layout(**sizes, attention_mask=padding)[0, 0, 0, 0]


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
    assert max(own.stop - own.start for own, _ in plan.segments) < attention.HALVED_FROM
    met = torch.zeros(layout.num_tokens, layout.num_tokens, dtype=torch.int)
    for own, keys in plan.segments:
        met[own, keys] += torch.ones(own.stop - own.start, keys.stop - keys.start, dtype=torch.int).tril()
    for queries, keys in plan.prefixes:
        met[queries, keys] += 1
    assert torch.equal(met, dense_mask(layout).int())


def test_rows_that_go_on_from_a_cache_are_halved_too():
    torch.manual_seed(0)
    query, (key, value) = torch.randn(2, 2, 300, 8), torch.randn(2, 2, 2, 330, 8)
    ours = attend_by_segments(query, key, value, attention.SegmentPlan.after(30, 300), (None, None))
    mask = torch.ones(300, 330).tril(30).bool()
    torch.testing.assert_close(ours, scaled_dot_product_attention(query, key, value, mask), rtol=1e-5, atol=1e-5)


def test_bf16_meets_no_more_parts_than_it_must(monkeypatch):
    monkeypatch.setattr(attention, "HALVED_FROM", 4)
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
