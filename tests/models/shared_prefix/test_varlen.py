"""Attention over gathered keys equals dense attention and separate rows, by a kernel of Python in torch's place."""

import copy

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from varlen_kernel import give_kernel, reference_kernel

from rewardsmith.models.shared_prefix import varlen
from rewardsmith.models.shared_prefix.packing import PrefixLayout, pack
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.shared_prefix.store import Memory
from rewardsmith.models.shared_prefix.varlen import Runs, attend_to_gathered, gathering_attention, runs_of

CPU = torch.device("cpu")
LAYOUTS = {
    "pairs": PrefixLayout(((7, (3, 5)), (4, (1, 1)))),
    "no prefix": PrefixLayout(((0, (6, 2, 9)),)),
    "a branch of no tokens": PrefixLayout(((8, (0, 4)),)),
    "a prefix longer than all else": PrefixLayout(((70, (1, 2)), (2, (3,)))),
    "padding": PrefixLayout(((5, (2, 3)), (1, (4,))), padding=6),
    "twelve answers": PrefixLayout(((9, tuple(range(1, 13))),)),
}


def inputs(layout, key_heads, size=16, dtype=torch.float64):
    torch.manual_seed(0)
    heads = (4, key_heads, key_heads)
    return [torch.randn(1, n, layout.num_tokens, size, dtype=dtype, requires_grad=True) for n in heads]


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 4, 500])
@pytest.mark.parametrize("name", LAYOUTS)
def test_outputs_and_gradients_equal_dense_masked_attention_in_float64(name, window, key_heads, monkeypatch):
    give_kernel(monkeypatch)
    layout, given = LAYOUTS[name], inputs(LAYOUTS[name], key_heads)
    ours = attend_to_gathered(*given, Runs.of(layout, CPU), (0.3, window))
    dense = scaled_dot_product_attention(*given, layout.dense_mask(window), scale=0.3, enable_gqa=True).transpose(1, 2)
    weights = torch.randn_like(ours)
    for found, expected in zip(
        (ours, *torch.autograd.grad((ours * weights).sum(), given)),
        (dense, *torch.autograd.grad((dense * weights).sum(), given)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_gradient_of_a_shared_key_is_summed_in_fp32():
    many = 300
    row = torch.ones(1, 1, 8, dtype=torch.bfloat16, requires_grad=True)
    varlen._gathered(row, torch.zeros(many, dtype=torch.int32)).sum().backward()
    # In bf16 a sum of ones stops at 256.
    assert row.grad.unique().tolist() == [300.0]


SMALL = {
    **{"vocab_size": 130, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "attention_dropout": 0.0},
    **{"num_labels": 1, "pad_token_id": 0},
}
FAMILIES = {
    "llama": {},
    "qwen3": {"num_key_value_heads": 1},
    "mistral": {"sliding_window": 7},
    "gemma3_text": {"sliding_window": 6, "query_pre_attn_scalar": 8},
    # A soft cap bends every weight: keys are not gathered.
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 0.5},
}


def build(family, dtype=torch.float64):
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**SMALL | FAMILIES[family])
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3 if weight.ndim > 1 else 1.0)
    return model.to(dtype).train()


def rewards_and_gradients(model, batch):
    rewards_B = model(reward_batch=batch).logits[:, 0]
    weights_B = torch.linspace(1, -2, len(rewards_B))
    (rewards_B * weights_B).sum().backward()
    return rewards_B.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_and_gradients_of_every_shape_equal_those_by_segments(family, repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from hostile_cases import SHAPES

    model = build(family)
    plan = prepare_model(model, share=True)
    gathering, met = copy.deepcopy(model), []

    def counting(*args, **options):
        met.append(options["window_size"])
        return reference_kernel(*args, **options)

    give_kernel(monkeypatch, counting)
    gathering.set_attn_implementation(varlen.GATHERING)
    for groups in SHAPES.values():
        batch = plan.batch(groups)
        for one in (model, gathering):
            one.zero_grad()
        expected, expected_gradients = rewards_and_gradients(model, batch)
        rewards_B, gradients = rewards_and_gradients(gathering, plan.batch(groups))
        torch.testing.assert_close(rewards_B, expected, rtol=1e-9, atol=1e-9)
        for found, wanted in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-8)
    assert bool(met) == (family != "gemma2")
    assert ((6, 0) in met) == (family == "mistral")


def attends_by(layout, monkeypatch, **options):
    """Return whether keys are gathered for a layout."""
    met = []
    give_kernel(monkeypatch, lambda *args, **more: met.append(True) or reference_kernel(*args, **more))
    module = torch.nn.Module().eval()
    module.num_key_value_groups = 2
    with torch.no_grad():
        found, _ = gathering_attention(module, *inputs(layout, 2), None, prefix_layout=layout, **options)
    assert found.shape == (1, layout.num_tokens, 4, 16)
    return bool(met)


def test_long_sequences_and_many_copies_of_a_prefix_are_left_to_flex_attention(monkeypatch):
    assert attends_by(PrefixLayout(((1000, (24, 3)),)), monkeypatch)
    assert not attends_by(PrefixLayout(((1000, (25, 3)),)), monkeypatch)
    assert attends_by(PrefixLayout(((40, (10,) * 5),)), monkeypatch)
    assert not attends_by(PrefixLayout(((40, (1,) * 9),)), monkeypatch)
    assert not attends_by(LAYOUTS["pairs"], monkeypatch, softcap=1.0)
    assert not attends_by(LAYOUTS["pairs"], monkeypatch, s_aux=torch.ones(4, dtype=torch.float64))


def test_keys_that_were_kept_from_elsewhere_are_not_gathered():
    memory = Memory([None], (0,), [3])
    assert runs_of(PrefixLayout(((5, (2, 3)),), memory=memory), CPU) is None


def test_runs_are_made_once_a_batch_and_by_both_kinds_of_layer():
    layout = pack([[[1, 2, 3], [1, 2, 4, 5]]]).chunks[0].layout
    runs = runs_of(layout, CPU)
    assert runs_of(layout.attending_from(torch.tensor([2])), CPU) is runs
    assert runs.keys_T.tolist() == [0, 1, 0, 1, 2, 0, 1, 3, 4]
    assert (runs.query_ends.tolist(), runs.key_ends.tolist()) == ([0, 2, 3, 5], [0, 2, 5, 9])


def test_the_kernel_is_asked_for_heads_and_precisions_that_it_has():
    def asked(dtype, size, value_size=None):
        return varlen.takes(torch.empty(1, 4, 3, size, dtype=dtype), torch.empty(1, 4, 3, value_size or size))

    assert asked(torch.bfloat16, 128)
    assert asked(torch.float16, 64)
    assert not asked(torch.float32, 64)
    assert not asked(torch.bfloat16, 20)
    assert not asked(torch.bfloat16, 256)
    assert not asked(torch.bfloat16, 192, 128)
    assert not varlen.has_kernel(CPU)


@pytest.mark.parametrize(("window", "compiled"), [(None, False), (4, False), (4, True)])
def test_the_installed_torch_takes_what_its_kernel_is_given(window, compiled, monkeypatch):
    """No GPU is needed for the shapes and types of the real kernel's result and gradients, nor to trace it."""
    real = varlen.kernel()
    assert real is not None
    monkeypatch.setattr(varlen, "kernel", lambda: real)
    layout, attend = LAYOUTS["padding"], attend_to_gathered
    runs = Runs.of(layout, CPU)
    if compiled:
        attend = torch.compile(attend_to_gathered, backend="aot_eager", fullgraph=True)
    with FakeTensorMode():
        places = (runs.keys_T, runs.query_ends, runs.key_ends)
        fakes = [torch.empty(len(place), dtype=place.dtype) for place in places]
        runs = Runs(*fakes, runs.longest_queries, runs.longest_keys)
        size = (layout.num_tokens, 64)
        given = [torch.empty(1, n, *size, dtype=torch.bfloat16, requires_grad=True) for n in (4, 2, 2)]
        output = attend(*given, runs, (0.3, window))
        assert (output.shape, output.dtype) == ((1, layout.num_tokens, 4, 64), torch.bfloat16)
        gradients = torch.autograd.grad(output.float().sum(), given)
    assert [(g.shape, g.dtype) for g in gradients] == [(t.shape, t.dtype) for t in given]
