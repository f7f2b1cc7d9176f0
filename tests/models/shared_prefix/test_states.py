"""What a prefix leaves behind can be read on from as if the whole row had been read, and stays as it was."""

import pytest
import torch
from torch import nn
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.states import empty_past

SMALL = {
    **{"vocab_size": 101, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "pad_token_id": 0},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64},
}
DELTA = {
    **{"layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4, "linear_num_key_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_expand": 2, "mamba_n_groups": 1}
EXPERTS = {"num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1}
# One family of each way of holding keys, values and states.
FAMILIES = {
    "llama": {},
    "qwen3_5_text": DELTA,
    "mamba": {"state_size": 8, "intermediate_size": 64},
    "mamba2": {"state_size": 16, "num_heads": 8, "head_dim": 8, "n_groups": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 8, **EXPERTS},
    "zamba": {"layers_block_type": ["mamba", "hybrid", "hybrid"], "num_hidden_layers": 3, "n_mamba_heads": 2},
    "bamba": {**MAMBA, "attn_layer_indices": [1]},
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "block_size": 4, **EXPERTS},
    "rwkv": {"attention_hidden_size": 32},
    "xlstm": {"num_heads": 4},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 8, "num_hidden_layers": 3},
}
PREFIX, RESTS = torch.arange(5, 14)[None], torch.tensor([[20, 21, 22, 23], [30, 31, 32, 33], [40, 41, 42, 43]])


def backbone(family: str) -> nn.Module:
    """A model in which every layer has its say."""
    torch.manual_seed(0)
    model = AutoModel.from_config(CONFIG_MAPPING[family](**{**SMALL, **FAMILIES[family]})).train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and 0 < parameter.std() < 0.05:
                parameter.mul_(0.2 / parameter.std())
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def gradient_of(model: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    (hidden * torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_from_a_fork_is_reading_the_whole_row_with_its_gradient(family):
    model = backbone(family)
    rows = torch.cat([PREFIX.expand(3, -1), RESTS], dim=1)
    whole = model(input_ids=rows, use_cache=False).last_hidden_state[:, 9:]
    wanted = gradient_of(model, whole)
    past = empty_past(model)
    past.read(model, PREFIX)
    before = [tensor.detach().clone() for tensor in past.tensors()]
    forked = past.forked(past.tensors(), torch.tensor([0, 0, 0]))
    hidden = forked.read(model, RESTS)
    assert torch.allclose(hidden, whole, atol=1e-4 * float(whole.detach().abs().max()))
    assert float((gradient_of(model, hidden) - wanted).norm() / wanted.norm()) < 1e-4
    assert all(torch.equal(old, new) for old, new in zip(before, past.tensors(), strict=True))
    assert all(len(tensor) == 3 for tensor in forked.tensors())


def test_a_model_without_a_cache_is_named():
    model = AutoModel.from_config(CONFIG_MAPPING["openai-gpt"](vocab_size=101, n_embd=32, n_layer=1, n_head=4))
    with pytest.raises(ScoringError, match="OpenAIGPTModel takes no cache"):
        empty_past(model)
