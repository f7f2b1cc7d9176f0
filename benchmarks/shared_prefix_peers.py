"""One step of a reward model by other packages that share prefixes, for `gpu.py`; neither runs without CUDA.

flash-preference (`pip install flash-pref`, with flash-attn) patches FlashAttention 2 inside a context. TRL folds the
samples of asynchronous GRPO into a trie and attends along its paths by FlashAttention 3; its rows serve a reward model
as well: the reward of a sample is read at its last token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from transformers import PreTrainedModel

Build = Callable[[str], PreTrainedModel]


class Peer(Protocol):
    """From a way to build the model, given its attention, and the sequences of one group to a step."""

    def __call__(self, build: Build, sequences: Sequence[list[int]], /) -> Callable[[], torch.Tensor]:
        """Return what computes rewards and gradients once."""
        ...


def flash_preference(build: Build, sequences: Sequence[list[int]]) -> Callable[[], torch.Tensor]:
    """Return a step by flash-preference. Raises ImportError where it is not installed."""
    from flash_pref import shared_prefix

    model = build("flash_attention_2")
    longest = max(map(len, sequences))
    ids_BL = torch.tensor([ids + [0] * (longest - len(ids)) for ids in sequences], device=model.device)
    mask_BL = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences], device=model.device)

    def step() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        with shared_prefix(model, input_ids=ids_BL, attention_mask=mask_BL):
            rewards_B = model(input_ids=ids_BL, attention_mask=mask_BL).logits[:, 0]
            torch.nn.functional.softplus(-rewards_B).mean().backward()
        return rewards_B.detach()

    return step


def trl_tree(build: Build, sequences: Sequence[list[int]]) -> Callable[[], torch.Tensor]:
    """Return a step by TRL's tree attention. Raises ImportError where TRL or its kernel is not installed."""
    from trl.experimental.async_grpo import packing

    packing.register_tree_attention()
    model = build(packing.TREE_ATTENTION)
    row = packing.TreeRow()
    for ids in sequences:
        # The last token alone is trained, so the row says where it stands.
        trained, unused = [0] * (len(ids) - 1) + [1], torch.zeros(len(ids))
        row.add(
            {
                "input_ids": torch.tensor(ids),
                "completion_mask": torch.tensor(trained),
                "old_log_probs": unused,
                "advantage": 0.0,
                "group_id": 0,
            }
        )
    packed = {name: value.to(model.device) for name, value in row.pack().items()}
    longest_q, longest_k = packed["tree_max_seqlens"].tolist()
    tree = {name: packed[name] for name in ("tree_kv_index", "tree_cu_seqlens_q", "tree_cu_seqlens_k")}
    # A branch begins at the last token that is shared, so the token before the last one stands right before it.
    last_B = packed["token_index"] + 1

    def step() -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        hidden = model.model(
            input_ids=packed["input_ids"][None],
            position_ids=packed["position_ids"][None],
            tree_max_seqlen_q=longest_q,
            tree_max_seqlen_k=longest_k,
            **tree,
        ).last_hidden_state[0, last_B]
        rewards_B = model.score(hidden)[:, 0]
        torch.nn.functional.softplus(-rewards_B).mean().backward()
        return rewards_B.detach()

    return step
