"""How long a sequence a model can read."""

from __future__ import annotations

from typing import Any

# Their position embeddings begin after the pad token's, so two of them are never used.
OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer")


def longest_input(config: Any) -> int | None:
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
