"""Batches of TRL's own collator: padded `input_ids` whose first half is chosen and second half rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rewardsmith.errors import DataError
from rewardsmith.models.shared_prefix.packing import RewardBatch, RowChunk
from rewardsmith.objectives.comparisons import Comparisons


def read_padded_pairs(inputs: Mapping[str, Any]) -> tuple[RewardBatch, Comparisons]:
    """Read `input_ids`, `attention_mask` ([2 P, L], right-padded) and an optional `margin` [P]."""
    if "input_ids" not in inputs or "attention_mask" not in inputs:
        raise DataError(
            f"the data collator gave {sorted(inputs)}; it must give input_ids and attention_mask, or leave "
            "data_collator unset"
        )
    input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
    size = len(input_ids) // 2
    tokens = int(attention_mask.sum())
    chunk = RowChunk(input_ids, attention_mask, attention_mask.sum(dim=1) - 1)
    index = torch.arange(2 * size, device=input_ids.device)
    batch = RewardBatch((chunk,), index, tokens, tokens)
    return batch, pair_comparisons(size, inputs.get("margin"), input_ids.device)


def pair_comparisons(size: int, margin_P: Tensor | None, device: torch.device) -> Comparisons:
    """Give the comparisons "row i over row size + i"."""
    index = torch.arange(size, device=device)
    ones = torch.ones(size, device=device)
    return Comparisons(
        better_P=index,
        worse_P=index + size,
        group_P=index,
        is_tie_P=torch.zeros(size, dtype=torch.bool, device=device),
        margin_P=torch.zeros(size, device=device) if margin_P is None else margin_P.float(),
        weight_P=ones,
        probability_P=ones,
        num_groups=size,
    )
