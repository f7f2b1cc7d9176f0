"""What a config says of positions and of sharing."""

import copy
import importlib
from types import SimpleNamespace

import pytest
import tiny_models
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.models.shared_prefix import attention
from rewardsmith.models.shared_prefix.exactness import (
    HALVES,
    _drops_attention,
    _rates_of_config,
    disable_dropout,
    fixed_positions,
    in_float32,
    longest_input,
)
from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model


@pytest.mark.parametrize(
    ("config", "longest", "fixed"),
    [
        (BertConfig(), 512, 512),
        (GPT2Config(), 1024, 1024),
        (RobertaConfig(max_position_embeddings=514), 512, 512),
        (LlamaConfig(max_position_embeddings=2048), 2048, None),
        (DebertaV2Config(position_biased_input=False), None, None),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_tables_of_positions_end_and_rotary_ones_go_on(config, longest, fixed):
    assert longest_input(config) == longest
    assert fixed_positions(config) == fixed


DROPS = {
    "opt": {"dropout": 0.1, "attention_dropout": 0.1, "layerdrop": 0.1, "word_embed_proj_dim": 16, "ffn_dim": 32},
    "biogpt": {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    "gpt2": {"attn_pdrop": 0.1},
    "bloom": {"hidden_dropout": 0.1, "attention_dropout": 0.1},
    "llama": {"attention_dropout": 0.1},
    "falcon": {"hidden_dropout": 0.1, "attention_dropout": 0.1},
    "persimmon": {"hidden_dropout": 0.1, "attention_dropout": 0.1, "intermediate_size": 32},
}


def _tiny(kind: str):
    config = CONFIG_MAPPING[kind](
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=0,
        **DROPS[kind],
    )
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("kind", DROPS)
def test_attention_dropout_is_not_shared_whatever_a_family_calls_it(kind):
    model = _tiny(kind).eval()
    plan = prepare_model(model, trains=True)
    assert plan.way == "rows"
    assert "attention dropout" in plan.reason
    disable_dropout(model)
    assert prepare_model(model, trains=True).share
    model.train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("module", ["falcon.FalconDecoderLayer", "llama.LlamaAttention"])
def test_rates_that_are_read_from_the_config_while_a_layer_runs_are_found(module):
    kind, name = module.split(".")
    found = _rates_of_config(getattr(importlib.import_module(f"transformers.models.{kind}.modeling_{kind}"), name))
    assert found == {"falcon": ("attention_dropout", "hidden_dropout"), "llama": ()}[kind]


class _Dropping(nn.Module):
    """Attention of a model's own code, which reads its rate from a config."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.config = SimpleNamespace(weights_dropout=rate)

    def forward(self, values):
        return nn.functional.dropout(values, p=self.config.weights_dropout, training=self.training)


class _OwnAttention(_Dropping):
    """The same under a name that says what it is."""


def test_code_of_a_models_own_that_drops_by_its_config_is_switched_off():
    model = nn.Sequential(_Dropping(0.5), _OwnAttention(0.5))
    assert _drops_attention(model)
    assert not _drops_attention(model[:1])
    disable_dropout(model, None)
    assert not _drops_attention(model)
    assert torch.equal(model.train()(torch.ones(64)), torch.ones(64))


def test_a_model_that_is_prepared_again_keeps_its_plan():
    config = CONFIG_MAPPING["gpt_oss"](
        **{"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 2, "num_experts_per_tok": 1},
        **{"num_labels": 1, "pad_token_id": 0, "attention_dropout": 0.0},
    )
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    plan = prepare_model(model)
    assert (plan.way, plan.narrows) == ("packed", False)
    assert prepare_model(model) == plan
    assert compute_rewards(model, [[[5, 6, 7], [5, 6, 8]]])


IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


def experts(kind: str = "gpt_oss"):
    """Return a model that chooses two of four experts with weights that make every layer count."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](
        **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "head_dim": 8},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
        **{"num_labels": 1, "pad_token_id": 0, "attention_dropout": 0.0},
    )
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.3)
    return model


def test_states_keys_and_values_are_shared_in_bf16_as_in_fp32():
    for make, way, forks in ((tiny_models.qwen2, "packed", True), (tiny_models.hybrid, "forked", False)):
        for dtype in (torch.float32, torch.bfloat16):
            plan = prepare_model(make()[0].to(dtype))
            assert (plan.way, plan.forks) == (way, forks), dtype


def test_experts_that_are_chosen_otherwise_in_bf16_are_no_fault_of_sharing():
    model = experts()
    exact, half = copy.deepcopy(model), model.to(torch.bfloat16)
    plan = prepare_model(half)
    assert (plan.way, plan.forks) == ("packed", True)
    groups = [[[*range(5, 25), 30 + k, *range(k, 9 + k)] for k in range(8)]]
    apart = [
        max(abs(a - b) for a, b in zip(compute_rewards(exact, groups)[0], rewards, strict=True))
        for rewards in (compute_rewards(half, groups, plan=plan)[0], half_rows(half, groups))
    ]
    assert 0 < apart[0] < 3 * apart[1]


def half_rows(model, groups) -> list[float]:
    with torch.no_grad():
        return [float(model(input_ids=torch.tensor([row])).logits) for row in groups[0]]


@pytest.mark.parametrize("make", [lambda: tiny_models.qwen2()[0], lambda: experts("mixtral")], ids=["dense", "experts"])
def test_a_path_that_is_wrong_by_less_than_bf16_rounds_is_found_in_bf16(monkeypatch, make):
    merge = attention._merge

    def slightly_wrong(output, lse, extra, extra_lse):
        merge(output, lse, extra, extra_lse - 0.02)

    monkeypatch.setattr(attention, "_merge", slightly_wrong)
    plan = prepare_model(make().to(torch.bfloat16))
    assert plan.way != "packed"
    assert "differs by" in plan.reason


@pytest.mark.parametrize("make", [lambda: tiny_models.qwen2()[0], lambda: experts("mixtral")], ids=["dense", "experts"])
@pytest.mark.parametrize("fault", ["raises", "is no number"])
def test_a_kernel_that_fails_in_bf16_alone_is_found(monkeypatch, make, fault):
    forward = attention._FORWARD

    def failing(query, *args, **options):
        if query.dtype != torch.bfloat16:
            return forward(query, *args, **options)
        if fault == "raises":
            raise RuntimeError("not implemented for 'BFloat16'")
        output, lse = forward(query, *args, **options)
        return output * float("nan"), lse

    monkeypatch.setattr(attention, "_FORWARD", failing)
    plan = prepare_model(make().to(torch.bfloat16))
    assert plan.way == "forked"
    assert ("BFloat16" if fault == "raises" else "differs by nan") in plan.reason


def test_in_fp32_a_model_computes_as_its_copy_and_is_itself_again_afterwards():
    model = experts("mixtral").to(torch.bfloat16)
    expected = copy.deepcopy(model).float()(input_ids=IDS).logits
    held = {name: (weight, weight.data_ptr()) for name, weight in model.named_parameters()}
    graphs: list[torch.dtype] = []
    with in_float32(model) as is_other:
        found = model(input_ids=IDS).logits
        graphs += [weight.dtype for weight in model.model.layers.parameters()]
        found.sum().backward()
    assert is_other
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    # Between the passes too, no layer is held in fp32.
    assert set(graphs) == {torch.bfloat16}
    for name, weight in model.named_parameters():
        assert (weight, weight.data_ptr()) == held[name], name
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_what_a_model_casts_to_a_norms_precision_is_not_rounded_in_the_check():
    config = CONFIG_MAPPING["zaya"](
        **{"vocab_size": 64, "hidden_size": 32, "moe_intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 1},
        **{"pad_token_id": 0, "layer_types": ["hybrid", "hybrid"]},
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval().to(torch.bfloat16)
    expected = copy.deepcopy(model).float()(input_ids=IDS).last_hidden_state
    with in_float32(model), torch.no_grad():
        found = model(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_widened_stays_as_it_is():
    model = nn.Sequential(nn.Linear(2, 2, device="meta", dtype=torch.bfloat16))
    for made in (model, tiny_models.qwen2()[0]):
        with in_float32(made) as is_other:
            assert not is_other
    assert (torch.bfloat16, torch.float16) == HALVES
