"""What a config says of positions and of sharing."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.models.shared_prefix.exactness import (
    _drops_attention,
    _rates_of_config,
    disable_dropout,
    fixed_positions,
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


@pytest.mark.parametrize("module", ["falcon.FalconDecoderLayer", "gptj.GPTJFlashAttention2", "llama.LlamaAttention"])
def test_rates_that_are_read_from_the_config_while_a_layer_runs_are_found(module):
    kind, name = module.split(".")
    found = _rates_of_config(getattr(importlib.import_module(f"transformers.models.{kind}.modeling_{kind}"), name))
    assert found == {"falcon": ("attention_dropout", "hidden_dropout"), "gptj": ("attn_pdrop",), "llama": ()}[kind]


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
