"""Tell from a model's config what it can read: how long a sequence, and whether prefixes can be shared exactly."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

# Attention patterns that the packed layout reproduces token for token.
EXACT_LAYERS = {"full_attention", "sliding_attention"}
# Rotary scalings that depend on the length of the whole batch, so packing would change them.
LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}


def reason_not_to_share(core: PreTrainedModel) -> str:
    """Return why completions cannot go on from a prefix that was computed once; empty when they can."""
    config = core.config.get_text_config()
    name = type(core).__name__
    if config.is_encoder_decoder or not hasattr(core, "score"):
        return f"{name} is not a decoder with a linear reward head, its tokens attend in both directions"
    if getattr(config, "is_causal", True) is False or getattr(config, "use_bidirectional_attention", False):
        return f"{name} attends in both directions"
    if getattr(config, "attention_dropout", 0) and core.training and not _dropout_is_off(core):
        return f"{name} has attention dropout; set disable_dropout=True"
    return ""


def reason_not_to_pack(core: PreTrainedModel) -> str:
    """Return why packed attention would not equal separate rows; empty when it would."""
    config = core.config.get_text_config()
    name = type(core).__name__
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        return f"{name} uses ALiBi, which counts distances inside the packed sequence"
    if not core._can_set_attn_implementation():
        return f"{name} does not use transformers' attention interface"
    other = set(getattr(config, "layer_types", None) or ()) - EXACT_LAYERS
    if other or getattr(config, "attention_chunk_size", None):
        return f"{name} has layers of kind {', '.join(sorted(other)) or 'chunked_attention'}"
    if longest_shared(config) is not None:
        return f"{name} scales its rotary positions by the length of the batch"
    return ""


def _dropout_is_off(core: PreTrainedModel) -> bool:
    """Whether the attention modules themselves hold a dropout of zero, whatever the config says."""
    rates = [module.attention_dropout for module in core.modules() if hasattr(module, "attention_dropout")]
    return all(rate == 0 or getattr(rate, "p", 1) == 0 for rate in rates)


# Their position embeddings begin after the pad token's, so two of them are never used.
OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer")


def longest_input(config: PreTrainedConfig) -> int | None:
    """Give the longest sequence that a model of this (text) config can read, in tokens; None when there is no end."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or getattr(config, "position_biased_input", True) is False:
        return None
    if config.model_type in OFFSET_FAMILIES:
        return int(positions) - (config.pad_token_id if config.pad_token_id is not None else 1) - 1
    return int(positions)


def fixed_positions(config: Any) -> int | None:
    """Give `longest_input` of a model that has a table of positions and fails beyond it; None for rotary positions."""
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
    return None if rotary else longest_input(config)


def longest_shared(config: PreTrainedConfig) -> int | None:
    """Return up to which length, in tokens, rotary positions do not depend on the length; None when they never do."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    scalings = [value for value in [rope, *rope.values()] if isinstance(value, dict)]
    limits = [
        value.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
        for value in scalings
        if str(value.get("rope_type")) in LENGTH_DEPENDENT_ROPE
    ]
    if not limits:
        return None
    return min(int(limit or config.max_position_embeddings) for limit in limits)
