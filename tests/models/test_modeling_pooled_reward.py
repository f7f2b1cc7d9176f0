"""Poolings over a decoder's last hidden states; padding is never read."""

import pytest
import torch
from transformers import FalconH1Config, Qwen2Config

from rewardsmith.models.modeling_pooled_reward import PooledRewardModel

IDS = torch.tensor([[5, 6, 7]])


def model(pooling, bias=False):
    config = Qwen2Config(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    config.reward_pooling, config.reward_bias, config.num_labels = pooling, bias, 1
    torch.manual_seed(0)
    return PooledRewardModel(config).eval()


@pytest.mark.parametrize("pooling", ["last", "mean", "mean_max"])
def test_padding_changes_no_reward(pooling):
    made = model(pooling)
    padded, mask = torch.tensor([[5, 6, 7, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    assert torch.allclose(made(IDS).logits, made(padded, mask).logits, atol=1e-6)
    assert torch.allclose(made(IDS).logits, made(padded).logits, atol=1e-6)


def test_a_bias_shifts_every_reward():
    made = model("last", bias=True)
    before = made(IDS).logits
    torch.nn.init.constant_(made.score.bias, made.score.bias.item() + 2.0)
    assert torch.allclose(made(IDS).logits, before + 2.0, atol=1e-5)


def test_buffers_that_a_decoder_computes_for_its_layers_are_computed_after_loading(tmp_path):
    config = FalconH1Config(
        **{"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "pad_token_id": 0},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "mamba_d_ssm": 16, "mamba_n_heads": 2},
        **{"mamba_d_head": 8, "mamba_d_state": 8, "ssm_multipliers": [0.5, 2.0, 3.0, 0.25, 1.5]},
    )
    config.reward_pooling = "last"
    made = PooledRewardModel(config).eval()
    made.save_pretrained(tmp_path)
    loaded = PooledRewardModel.from_pretrained(tmp_path, config=config).eval()
    assert torch.allclose(loaded(IDS).logits, made(IDS).logits, atol=1e-6)
    buffers = [dict(m.named_buffers()) for m in (made, loaded)]
    assert all(torch.equal(value, buffers[1][name]) for name, value in buffers[0].items())
