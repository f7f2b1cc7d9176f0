"""The cases and shapes of attack_families.py: windows, chunks and choices of tokens bite within a few tokens."""

from __future__ import annotations

from typing import Any

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
    "smollm3/window": {"use_sliding_window": True, "sliding_window": 8},
}
# Families whose settings as the page has them are hostile enough.
AS_THEY_ARE = """
lfm2 lfm3 jamba kimi_linear qwen3_5_text qwen3_next olmo_hybrid bailing_hybrid gemma2 gemma3_text gpt_oss mistral
cohere2 olmo3 exaone4 mimo_v2_flash qwen3_moe mixtral dbrx ernie4_5_moe granitemoe nemotron diffllama mpt bloom gptj
codegen gpt_neo gpt_neox xglm zaya mamba deepseek_v2 hrm_text
"""
CASES |= {name: {} for name in AS_THEY_ARE.split()}
# All experts at once: in bf16 a choice of experts that is nearly a tie falls either way.
CASES["gpt_oss/all_experts"] = {"num_local_experts": 4, "num_experts_per_tok": 4}
