"""Tiny random models of every decoder family that the installed transformers can generate text with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

VOCABULARY = 128
# Spread of a fresh model's weights, and of those that are examined.
FRESH, LIVELY = 0.02, 0.15
# What makes a model small, under every name that a config of transformers has for it.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "width"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_inner", "dff", "dim_ff"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads", "num_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "n_head_kv", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "d_head", "dim_head"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 512),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_groups"), 1),
    # Of the gated delta rule, whose states would be larger than the rest of the model.
    **dict.fromkeys(("linear_num_heads", "linear_num_value_heads"), 4),
    "linear_num_key_heads": 2,
    **dict.fromkeys(("linear_head_dim", "linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("hc_lowrank", "o_lora_rank"), 16),
    "rotary_dim": 4,
    "num_kv_shared_layers": 0,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "sliding_window": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Attention over compressed keys names its sizes itself, and has as many keys as queries.
COMPRESSED: dict[str, Any] = {
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "index_head_dim"), 8),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 16),
    **dict.fromkeys(("num_key_value_heads", "index_n_heads"), 4),
    "qk_head_dim": 16,
    "head_dim": 8,
    "index_topk": 512,
}
# Randomness of training, which no two forwards share.
STILL = ("dropout", "pdrop", "layerdrop", "jitter", "drop_rate")
# Decoders that are a part of a model of sound or pictures, and encoders whose config does not say so.
NOT_DECODERS = {
    "xlm": "reads in both directions",
    "xlnet": "reads in both directions",
    "gemma4_assistant": "drafts tokens for another model, over its cache",
    "gemma4_unified_assistant": "drafts tokens for another model, over its cache",
    "cpmant": "reads its prompt in both directions",
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_expand": 2, "mamba_n_groups": 1}
# Of layers with a window, whose heads are others than those of the rest.
WIDER = {
    **{"num_attention_heads": 8, "num_key_value_heads": 8, "q_lora_rank": 16, "kv_lora_rank": 16, "head_dim": 24},
    **{"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16},
}
HEARS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {**MAMBA, "attn_layer_indices": [1, 3], "layer_types": None},
    "granitemoehybrid": {**MAMBA, "layer_types": ["mamba", "attention"] * 2, "shared_intermediate_size": 64},
    "falcon_h1": {"layer_types": None, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 16},
    "nemotron_h": {
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 16,
        "n_groups": 2,
        "layer_types": None,
        "hybrid_override_pattern": "M*-M",
    },
    "mamba2": {"layer_types": None, "state_size": 16, "num_heads": 8, "head_dim": 8, "n_groups": 2},
    "mamba": {"layer_types": None, "state_size": 8},
    "falcon_mamba": {"layer_types": None, "state_size": 8},
    "recurrent_gemma": {"layer_types": None},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "layer_types": None},
    "zamba2": {
        "mamba_headdim": 8,
        "n_mamba_heads": 8,
        "layer_types": None,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
    },
    "dbrx": {
        "attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64},
    },
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    },
    "zaya": {"num_experts_per_tok": 1},
    "dots3_note_text": {"per_layer_config": dict.fromkeys(("1", "3"), WIDER)},
    "moss_transcribe_diarize/": {"audio_config": {**HEARS, "model_type": "moss_transcribe_diarize_encoder"}},
    "qwen4_exp_text": {
        **{"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 512},
        "indexer_compress_ratio": 1,
    },
}


def decoder_families() -> list[str]:
    """Return every model type with a causal language model, encoders and encoder-decoders left out."""
    return [name for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) if is_decoder(name)]


def is_decoder(name: str) -> bool:
    """Whether a model type reads from left to right and has no encoder."""
    if name in NOT_DECODERS:
        return False
    config = AutoConfig.for_model(name)
    reads_both_ways = getattr(config, "is_decoder", None) is False and not name.startswith("gpt")
    speech_or_pictures = name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and name not in MODEL_MAPPING_NAMES
    return not (config.is_encoder_decoder or reads_both_ways or speech_or_pictures)


def has_classifier(name: str) -> bool:
    """Whether transformers has a sequence classifier of this type."""
    return name in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


def tiny_config(name: str, **settings: Any) -> PreTrainedConfig:
    """Return a config of a few layers, one of every kind that the family's default has, with `settings` of its text."""
    default = AutoConfig.for_model(name)
    text = default.get_text_config()
    changes = {**_shrunk(text), **OVERRIDES.get(name, OVERRIDES.get(text.model_type, {})), **settings}
    changes = {name: value for name, value in changes.items() if value is not None}
    if text is default:
        return type(default)(**changes)
    part = next(key for key, value in vars(default).items() if value is text)
    return type(default)(**{part: {**changes, "model_type": text.model_type}}, **OVERRIDES.get(f"{name}/", {}))


def _shrunk(default: PreTrainedConfig) -> dict[str, Any]:
    known = default.to_dict()
    known |= dict.fromkeys(default.attribute_map)
    changes = {name: value for name, value in SMALL.items() if name in known}
    changes |= {name: 0.0 for name in known if any(word in name for word in STILL) and isinstance(known[name], float)}
    if "qk_rope_head_dim" in known:
        changes |= {name: value for name, value in COMPRESSED.items() if name in known}
    kinds = list(dict.fromkeys(getattr(default, "layer_types", None) or ()))
    if kinds:
        changes["layer_types"] = (kinds * 4)[: max(4, len(kinds))]
        changes["num_hidden_layers"] = len(changes["layer_types"])
    return changes


def tiny_language_model(name: str, **settings: Any) -> PreTrainedModel:
    """Return a causal language model with random weights, those included that a family leaves as they are.

    They are larger than a fresh model's, so that every layer has its say in what comes out.
    """
    model = AutoModelForCausalLM.from_config(tiny_config(name, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.isfinite().all() or parameter.abs().max() > 1e3:
                nn.init.normal_(parameter, std=FRESH)
            spread = float(parameter.float().std()) if parameter.ndim > 1 else 0.0
            if 0 < spread < 2 * FRESH:
                parameter.mul_(LIVELY / spread)
        for table in model.modules():
            # A pad token whose row is zero ties with itself wherever tokens are chosen by their scores.
            if isinstance(table, nn.Embedding) and table.padding_idx is not None:
                nn.init.normal_(table.weight[table.padding_idx], std=LIVELY)
    return model
