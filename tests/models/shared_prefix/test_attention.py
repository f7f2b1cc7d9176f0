"""Attention over a packed layout equals dense masked attention, by segments and by flex attention."""

import pytest
import torch

from rewardsmith.models.shared_prefix import attention
from rewardsmith.models.shared_prefix.attention import shared_prefix_attention
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
