"""Count the tokens and the FLOPs that the rewards of some pairs need, the same for every side of a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rewardsmith.models.shared_prefix.forward import last_layer
from rewardsmith.models.shared_prefix.packing import distinct, shared_prefix_length


def sequences_by_prompt(rows: Iterable[dict[str, str]], tokenizer: Any) -> list[list[list[int]]]:
    """Return the token ids of all sides, one list a prompt."""
    groups: dict[str, list[list[int]]] = {}
    for row in rows:
        texts = [row["prompt"] + row[side] + tokenizer.eos_token for side in ("chosen", "rejected")]
        groups.setdefault(row["prompt"], []).extend(tokenizer(texts)["input_ids"])
    return list(groups.values())


def count_work(groups: Iterable[list[list[int]]], model: Any) -> dict[str, float]:
    """Count the distinct tokens of the sequences, the FLOPs of a forward and backward, and the saving.

    Forward and backward cost three forwards: 2 FLOPs a weight and token outside of the embedding, and 4 x hidden size
    x layers for every pair of a token and a token that it sees. Of the last layer only the keys' and values' weights
    count for every token, the rest and its attention for scored tokens alone: what is not needed is not useful.
    `whole_flops` counts all of every layer for every distinct token, as utilisation is usually given.
    """
    tokens = seen = seen_by_scored = logical = scored = 0
    for sequences in groups:
        unique, _ = distinct(sequences)
        prefix = shared_prefix_length(unique)
        lengths = [len(sequence) - prefix for sequence in unique]
        tokens += prefix + sum(lengths)
        seen += prefix * (prefix + 1) // 2 + sum(n * prefix + n * (n + 1) // 2 for n in lengths)
        seen_by_scored += sum(map(len, unique))
        logical += sum(map(len, sequences))
        scored += len(unique)
    config = model.config
    weights = sum(p.numel() for p in model.parameters()) - config.vocab_size * config.hidden_size
    attention = 4 * config.hidden_size * (seen * (config.num_hidden_layers - 1) + seen_by_scored)
    last = sum(p.numel() for part in last_layer(model.model).tokenwise for p in part.parameters())
    needed = weights * tokens - last * (tokens - scored)
    whole = 2 * weights * tokens + 4 * config.hidden_size * seen * config.num_hidden_layers
    flops = {"flops": 3 * (2 * needed + attention), "whole_flops": 3 * whole}
    return {"tokens": tokens, **flops, "saving": logical / tokens}
