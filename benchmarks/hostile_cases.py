"""The cases and shapes of attack_families.py: windows, chunks and choices of tokens bite within a few tokens.

A case is a family, `FAMILY/NAME` of CASES, `FAMILY/harsh` with what its default leaves idle, or `FAMILY/rope_KIND`.
"""

from __future__ import annotations

from typing import Any

from tiny_families import decoder_families, tiny_config
from transformers import AutoConfig

POSITIONS = 96
ID = [3 + (7 * i) % 113 for i in range(113)] * 2

Groups = list[list[list[int]]]


def _answers(prompt: int, *lengths: int, start: int = 0) -> list[list[int]]:
    """Return a prompt of so many tokens with answers of such lengths, which begin differently."""
    head = ID[start : start + prompt]
    return [
        [*head, *([ID[start + prompt + 1 + k], *ID[40 + 3 * k : 39 + 3 * k + n]] if n else [])]
        for k, n in enumerate(lengths)
    ]


# Windows, chunks and choices of the cases are of 8 tokens; the gated delta rule goes in chunks of 64.
SHAPES: dict[str, Groups] = {
    "one, three and seven answers": [_answers(19, 6), _answers(21, 5, 1, 9), _answers(17, 4, 3, 12, 1, 2, 7, 20)],
    "an answer that is empty": [_answers(13, 0, 5, 3), _answers(4, 0, 1)],
    "equal answers": [[*_answers(11, 4, 6), *_answers(11, 4, 6)]],
    "an answer that begins another": [[ID[: 12 + n] for n in (0, 1, 5, 9)], [ID[:30], ID[:31]]],
    "prompts of one token": [_answers(1, 5, 3, 9), _answers(1, 2, 1, start=9)],
    "no prompt": [[ID[:9], ID[1:7], ID[2:30]], [[5], [6], [7, 8]]],
    "prompts of four to nine": [_answers(n, 3, 12, start=n) for n in range(4, 10)],
    "a prompt beyond the window": [_answers(33, 2, 5, 1), _answers(40, 1, 1, 3, start=5)],
    "answers beyond the window": [_answers(5, 30, 25, 9), _answers(9, 17, 40, start=3)],
    "beyond the chunks of the delta rule": [_answers(66, 3, 8, start=2), _answers(30, 40, 64), _answers(63, 2, 1, 20)],
    "special tokens in prompts and answers": [
        [[*ID[:9], 2, 0, *ID[9:14], 0, *ID[60 + k : 63 + k], 1] for k in (0, 5)],
        [[0, 0, *ID[:12], 2, *ID[70 + k : 70 + 2 * k], 2, 9] for k in (1, 4)],
    ],
    "as long as positions last": [_answers(60, POSITIONS - 60, 5, 12)],
    "very unlike lengths": [
        _answers(1, 3, 2),
        _answers(80, 1, 2, 9, start=7),
        _answers(6, 50, 1),
        _answers(16, 16, 15, start=4),
    ],
}
BEYOND: dict[str, Groups] = {
    "beyond the positions": [_answers(50, POSITIONS - 49, 70, 3), _answers(POSITIONS + 9, 1, 6)]
}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 24}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 24}
LONG = {
    **{"rope_type": "longrope", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 24},
    **{"short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [2.0, 3.0, 4.0, 5.0]},
}
# What makes the parts of a family that only long texts meet bite at once. No settings: the family as the page has it.
CASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama/yarn": {"rope_parameters": YARN},
    "llama/dynamic": {"rope_parameters": DYNAMIC},
    "phi3/longrope": {"rope_parameters": LONG, "original_max_position_embeddings": 24},
    "phimoe/longrope": {"rope_parameters": {**LONG, "short_mscale": 1.1, "long_mscale": 1.3}},
    "qwen2/window": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2},
    "llama4_text/chunks": {"attention_chunk_size": 8},
    "llama4_text/temperature": {"attention_chunk_size": 8, "floor_scale": 4, "attn_temperature_tuning": True},
    "doge/window": {"keep_window_size": 8},
    "deepseek_v3/groups": {"n_group": 2, "topk_group": 1, "topk_method": "noaux_tc"},
    "deepseek_v32/choice": {"index_topk": 8, "index_n_heads": 64},
    "glm_moe_dsa/choice": {"index_topk": 8, "index_n_heads": 64},
    "axk2/choice": {"index_topk": 8, "index_n_heads": 64},
    "hy_v4/choice": {"index_topk": 8, "index_n_heads": 64},
    "deepseek_v4/choice": {"index_topk": 4, "index_n_heads": 64},
    "qwen4_exp_text/choice": {"indexer_budget": 8},
    "minimax_m3_vl_text/choice": {
        **{"index_block_size": 4, "index_topk_blocks": 2, "layer_types": ["full_attention", "minimax_m3_sparse"] * 2},
        "num_hidden_layers": 4,
    },
    "minimax/blocks": {"block_size": 8},
    "mamba2/chunks": {"chunk_size": 8},
    "zamba2/chunks": {"chunk_size": 8},
    "nemotron_h/chunks": {"chunk_size": 8},
    "bamba/chunks": {"mamba_chunk_size": 8},
    "falcon_h1/chunks": {"mamba_chunk_size": 8},
    "granitemoehybrid/chunks": {"mamba_chunk_size": 8},
    "xlstm/chunks": {"chunk_size": 8},
    "recurrent_gemma/window": {"attention_window_size": 8},
    "modernbert-decoder/window": {"local_attention": 8},
    "inkling_text/window": {"sliding_window_size": 8},
    "inkling2_text/window": {"sliding_window_size": 8},
    "gemma3n_text/shared_keys": {
        "num_kv_shared_layers": 2,
        "num_hidden_layers": 6,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
    "gemma4_text/shared_keys": {
        "num_kv_shared_layers": 2,
        "num_hidden_layers": 6,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
    "falcon/alibi": {"alibi": True},
    "falcon/new": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon/old": {"multi_query": False, "num_kv_heads": 4, "parallel_attn": False, "bias": True},
    "gpt_bigcode/many": {"multi_query": False},
    "gpt2/scaled": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    "opt/after": {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
    "stablelm/norms": {"qk_layernorm": True, "use_parallel_residual": True, "use_qkv_bias": True},
    "cohere/norms": {"use_qk_norm": True},
    "phi/norms": {"qk_layernorm": True},
    "olmo/clipped": {"clip_qkv": 0.5},
    "rwkv/rescaled": {"rescale_every": 2},
    "ministral3/scaled": {
        "rope_parameters": {**YARN, "llama_4_scaling_beta": 0.4, "original_max_position_embeddings": 8}
    },
    "qwen4_exp_text/ngrams": {
        **{"ple_layer_ids": [1, 3], "ple_embed_dim": 32, "ngram_vocab_size_base": 200, "heads_per_ngram": 2},
        **{"split_ngram_parts": 1, "layer_types": ["linear_attention", "indexed_attention"] * 2},
    },
    "phi3/window": {"sliding_window": 5, "num_key_value_heads": 1},
    "smollm3/window": {"use_sliding_window": True, "sliding_window": 8},
}
# All experts at once: in bf16 a choice of experts that is nearly a tie falls either way.
CASES["gpt_oss/all_experts"] = {"num_local_experts": 4, "num_experts_per_tok": 4}
# What a family's default leaves idle, under every name that a config of transformers has for it: one key head, heads
# wider than hidden size over heads, windows shorter than every prefix, caps and multipliers that bend every score.
HARSH: dict[str, Any] = {
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_head_kv"), 1),
    **dict.fromkeys(("head_dim", "d_head", "kv_channels"), 16),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "window_size", "attention_window_size"), 5),
    "local_attention": 10,
    "max_window_layers": 2,
    **dict.fromkeys(("chunk_size", "mamba_chunk_size", "block_size", "attention_chunk_size"), 8),
    **{"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 3},
    **{"attention_multiplier": 0.3, "residual_multiplier": 0.7, "embedding_multiplier": 3.0, "logits_scaling": 7.0},
    **{"logit_scale": 5.0, "key_multiplier": 0.5, "lm_head_multiplier": 3.0, "attention_value_scale": 0.5},
    **dict.fromkeys(("attention_in_multiplier", "attention_out_multiplier"), 0.6),
    **dict.fromkeys(("ssm_in_multiplier", "ssm_out_multiplier"), 0.6),
    **{"routed_scaling_factor": 1.7, "first_k_dense_replace": 1, "decoder_sparse_step": 2, "clip_qkv": 0.5},
    **{"n_group": 2, "topk_group": 1, "zero_expert_num": 2, "no_rope_layer_interval": 2},
    **{"moe_layer_start_index": 1, "moe_layer_interval": 2, "expert_layer_period": 2},
    **dict.fromkeys(("conv_L_cache", "conv_kernel", "mamba_d_conv", "linear_conv_kernel_dim", "conv_kernel_size"), 3),
    "short_conv_kernel_size": 3,
    **{"H_cycles": 1, "L_cycles": 2, "log_scaling_n_floor": 4, "rel_extent": 6, "floor_scale": 4},
    **{"swa_head_dim": 16, "swa_num_key_value_heads": 1},
}
# Parts that a family switches on or off: the other way round.
FLIPPED = """
use_sliding_window attention_bias attention_out_bias mlp_bias qkv_bias use_qkv_bias use_bias bias no_bias conv_bias
norm_topk_prob use_qk_norm qk_norm qk_layernorm use_parallel_residual parallel_attn rope_interleave mamba_conv_bias
mamba_proj_bias use_conv_bias scale_embedding linear_allow_neg_eigval use_sandwich_norm use_attention_gate
kda_safe_gate add_qkv_bias add_full_attention_sink_bias scale_attn_by_inverse_layer_idx residual_in_fp32
attn_temperature_tuning attention_k_eq_v
"""
# What a family has otherwise, or cannot have (None: as it is).
HARSH_OF: dict[str, dict[str, Any]] = {
    "diffllama": {"num_key_value_heads": 2},
    "helium": {"head_dim": 8},
    "mamba2": {"head_dim": 8},
    "xlstm": {"head_dim": None, "num_heads": None},
    **{name: {"indexer_head_dim": 16} for name in ("qwen4_exp", "qwen4_exp_text")},
    "mpt": {"attn_config": {"qk_ln": True, "clip_qkv": 0.5, "softmax_scale": 0.3, "alibi_bias_max": 4}},
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": 1, "clip_qkv": 0.5}},
    "gpt_neo": {"attention_types": [[["local", "global"], 2]]},
    "deepseek_v3": {"topk_method": "noaux_tc"},
    "deepseek_v2": {"topk_method": "group_limited_greedy"},
}
# Rotary positions of every kind.
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0},
    "dynamic": DYNAMIC,
    "yarn": {**YARN, "mscale": 0.8, "mscale_all_dim": 0.6, "truncate": False},
    "llama3": {
        **{"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 24},
        **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    },
    "longrope": LONG,
}
# Rotary positions of the whole head and of a part of it, over compressed keys, beside layers without any, and with a
# base for each kind of layer.
ROTARY = """
llama gpt_neox glm4 deepseek_v3 qwen3 gemma3_text olmo3 stablelm falcon smollm3 gpt_oss granite exaone4 phi cohere2
nemotron persimmon lfm2 qwen3_next modernbert-decoder ministral3 minicpm3 mixtral
"""


# Of these no tiny reward model can be made; the page says why.
NOT_MADE = {"blt", "dots3_note", "emu3", "gemma3n", "mllama", "phi4_multimodal"}


def all_cases() -> list[str]:
    """Return every named case, every family as the page has it and with what is harsh, and rotary positions."""
    families = [name for name in decoder_families() if name not in NOT_MADE]
    ropes = [f"{name}/rope_{kind}" for name in ROTARY.split() for kind in ROPES]
    return [*CASES, *(name for name in families if name not in CASES), *(f"{name}/harsh" for name in families), *ropes]


def settings_of(case: str) -> dict[str, Any]:
    """Return the settings of a case's config."""
    name, _, kind = case.partition("/")
    known = _names(name)
    settings = {"max_position_embeddings": POSITIONS} if "max_position_embeddings" in known else {}
    if kind == "harsh":
        harsh = {key: value for key, value in HARSH.items() if key in known}
        if "qk_rope_head_dim" in known:
            # Attention over compressed keys has sizes of its own, and as many keys as queries.
            harsh = {key: value for key, value in harsh.items() if key not in ("num_key_value_heads", "head_dim")}
        harsh |= {key: not known[key] for key in FLIPPED.split() if isinstance(known.get(key), bool)}
        harsh |= HARSH_OF.get(name, {})
        return settings | {key: value for key, value in harsh.items() if value is not None}
    if kind.startswith("rope_"):
        return settings | {"rope_parameters": _rope(name, kind.removeprefix("rope_"))}
    return settings | CASES.get(case, {})


def rates_of(case: str) -> list[str]:
    """Return the names of the rates of dropout in a case's config; DiffLlama refuses any."""
    if case.startswith("diffllama"):
        return []
    return [name for name, value in _names(case.split("/")[0]).items() if "drop" in name and isinstance(value, float)]


def _names(family: str) -> dict[str, Any]:
    """Return what a family's config has, by every name, with its default."""
    config = AutoConfig.for_model(family).get_text_config()
    return {**dict.fromkeys(config.attribute_map), **config.to_dict()}


def _rope(family: str, kind: str) -> dict[str, Any]:
    """Return rotary positions of a kind, for every kind of layer where a family has a base for each."""
    config = tiny_config(family)
    known = config.get_text_config().rope_parameters
    by_layer = any(isinstance(value, dict) for value in known.values())
    rotated = getattr(config, "qk_rope_head_dim", None) or getattr(config, "head_dim", None) or 8

    def one(known: dict[str, Any]) -> dict[str, Any]:
        share = max(0.5, known.get("partial_rotary_factor", 1.0))
        rope = {**known, **ROPES[kind]} | ({"partial_rotary_factor": share} if share < 1 else {})
        count = int(rotated * share) // 2
        factors = {name: rope[name][:count] for name in ("short_factor", "long_factor") if name in rope}
        return rope | factors

    return {layer: one(value) for layer, value in known.items()} if by_layer else one(known)
