"""The language-model loss of sequences, from the hidden states of a shared forward: every distinct token once.

Shapes: N tokens of a chunk laid flat, U distinct sequences, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rewardsmith.models.shared_prefix.packing import PackedChunk, Rests, RowChunk

# Tokens whose logits are held at a time; 1024 of a vocabulary of 150,000 take 0.6 GB in fp32.
TOKENS_AT_ONCE = 1024


def places_of(chunk: PackedChunk | RowChunk) -> list[Tensor]:
    """Return, for every distinct sequence, where its tokens stand among the chunk's ids laid flat."""
    last, device = chunk.last_U.tolist(), chunk.input_ids.device
    if isinstance(chunk, RowChunk):
        width = chunk.input_ids.shape[1]
        return [torch.arange(row * width, row * width + end + 1, device=device) for row, end in enumerate(last)]
    places = []
    for start, prefix, branches in chunk.layout.spans():
        shared, end = torch.arange(start, start + prefix, device=device), start + prefix
        for length in branches:
            places.append(torch.cat([shared, torch.arange(end, end + length, device=device)]))
            end += length
    return places


def places_of_rests(prefix_ids: Tensor, rests: Rests) -> list[Tensor]:
    """Return the same for what goes on from forked caches: the prefixes' ids laid flat, then those of the rests."""
    (groups, prefix), width, device = prefix_ids.shape, rests.input_ids.shape[1], prefix_ids.device
    rows = enumerate(zip(rests.group_U.tolist(), rests.last_U.tolist(), strict=True))
    places = []
    for row, (group, end) in rows:
        start = groups * prefix + row * width
        shared = torch.arange(group * prefix, (group + 1) * prefix, device=device)
        places.append(torch.cat([shared, torch.arange(start, start + end + 1, device=device)]))
    return places


def text_losses(
    weight_VD: Tensor, hidden_ND: Tensor, ids_N: Tensor, places_U: Sequence[Tensor], wanted_U: Tensor
) -> Tensor:
    """Return `-1/(L-1) sum_t log p(x_t | x_<t)` of the wanted sequences, in nats a token; 0 for the others.

    A token and the one after it that several sequences share are computed once.

    Args:
        weight_VD: of the token head, here that of the embeddings.
        places_U: of `places_of`.

    Shapes: wanted_U (U,) bool -> (U,).
    """
    losses_U = torch.zeros(len(places_U), device=hidden_ND.device)
    owners, pairs = [], []
    for number, (places, is_wanted) in enumerate(zip(places_U, wanted_U.tolist(), strict=True)):
        if is_wanted and len(places) > 1:
            pairs.append(torch.stack([places[:-1], places[1:]]))
            owners += [number] * (len(places) - 1)
    if not pairs:
        # A zero with a gradient, so that every process has one.
        return losses_U + 0.0 * hidden_ND.float().sum()
    distinct, index = torch.cat(pairs, dim=1).unique(dim=1, return_inverse=True)
    one = partial(_token_losses, weight_VD)
    parts = [
        checkpoint(one, hidden_ND[here], ids_N[after], use_reentrant=False)
        for here, after in zip(*(side.split(TOKENS_AT_ONCE) for side in distinct), strict=True)
    ]
    owner = torch.tensor(owners, device=hidden_ND.device)
    counts_U = torch.bincount(owner, minlength=len(places_U)).clamp_min(1)
    return losses_U.index_add(0, owner, torch.cat(parts)[index]) / counts_U


def _token_losses(weight_VD: Tensor, hidden_TD: Tensor, ids_T: Tensor) -> Tensor:
    logits_TV = F.linear(hidden_TD.to(weight_VD.dtype), weight_VD).float()
    return F.cross_entropy(logits_TV, ids_T, reduction="none")
