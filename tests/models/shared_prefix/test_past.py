"""A cache of transformers is read on without touching what others go on from, positions and masks included."""

import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.models.shared_prefix.past import KeysAndStates

SMALL = {
    **{"vocab_size": 101, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "pad_token_id": 0},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64},
}


def test_a_cache_that_was_read_on_in_turn_equals_one_read_at_once():
    torch.manual_seed(0)
    model = AutoModel.from_config(CONFIG_MAPPING["qwen2"](**SMALL)).eval()
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        whole = model(input_ids=ids, use_cache=False).last_hidden_state
        past = KeysAndStates(model)
        parts = [past.read(model, part) for part in ids.split(4, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)
    assert [tensor.shape[-2] for tensor in past.tensors()] == [15] * 4


def test_a_selective_scan_of_another_model_begins_from_zero():
    torch.manual_seed(0)
    model = AutoModel.from_config(CONFIG_MAPPING["mamba"](**SMALL, state_size=8)).eval()
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).last_hidden_state
        past = KeysAndStates(model)
        past.read(model, ids)
        past.read(model, ids)
        assert torch.equal(model(input_ids=ids, use_cache=False).last_hidden_state, before)
