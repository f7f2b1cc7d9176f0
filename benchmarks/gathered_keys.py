"""Attention alone of packed pairs on CUDA: over gathered keys against FlexAttention, by the length of a sequence.

Run by gpu.py, after its table. The length from which FlexAttention wins is what `varlen.LONGEST` should be.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rewardsmith.models.shared_prefix import varlen
from rewardsmith.models.shared_prefix.attention import shared_prefix_attention
from rewardsmith.models.shared_prefix.packing import FLEX_BLOCK, PrefixLayout

LENGTHS = (256, 512, 1024, 2048, 4096)
ANSWERS = (2, 4, 9)
HEADER = (
    "tokens of a sequence",
    "answers",
    "packed tokens",
    "keys a token",
    "gathered, ms",
    "FlexAttention, ms",
    "ratio",
)
Heads = tuple[int, int, int]
Timer = Callable[[Callable[[], object]], float]


def rows(tokens: int, heads: Heads, device: torch.device, timed: Timer) -> list[str]:
    """Return a Markdown table of forward and backward in bf16.

    Args:
        tokens: about how many are packed.
        heads: heads, heads of keys, and their size.
        timed: returns the seconds of one call.
    """
    lines = ["| " + " | ".join(HEADER) + " |", "|---" * len(HEADER) + "|"]
    for length in (length for length in LENGTHS if length <= tokens):
        lines += [_row(length, layout_of(length, answers, tokens), heads, device, timed) for answers in ANSWERS]
    return lines


def layout_of(length: int, answers: int, tokens: int) -> PrefixLayout:
    """Return groups whose sequences have `length` tokens, three quarters of them prompt, in about `tokens`."""
    prompt = length * 3 // 4
    group = (prompt, (length - prompt,) * answers)
    count = max(1, tokens // (prompt + answers * (length - prompt)))
    layout = PrefixLayout((group,) * count)
    return PrefixLayout(layout.groups, -layout.num_tokens % FLEX_BLOCK)


def _row(length: int, layout: PrefixLayout, heads: Heads, device: torch.device, timed: Timer) -> str:
    runs = varlen.Runs.of(layout, device)
    given = _inputs(layout, heads, device)
    module = torch.nn.Module()
    module.num_key_value_groups = heads[0] // heads[1]
    ways: tuple[Callable[[], Tensor], ...] = (
        lambda: varlen.attend_to_gathered(given[0], given[1], given[2], runs, (None, None)),
        lambda: shared_prefix_attention(module, given[0], given[1], given[2], None, prefix_layout=layout)[0],
    )
    gathered, flex = (1000 * timed(lambda way=way: _step(way, given)) for way in ways)
    keys = f"{len(runs.keys_T) / layout.num_tokens:.1f}"
    times = (f"{gathered:.2f}", f"{flex:.2f}", f"{flex / gathered:.2f}")
    return "| " + " | ".join(map(str, (length, len(layout.groups[0][1]), layout.num_tokens, keys, *times))) + " |"


def _inputs(layout: PrefixLayout, heads: Heads, device: torch.device) -> list[Tensor]:
    """Return query, key and value in the memory order in which a model's projections give them."""
    num_heads, key_heads, size = heads
    shapes = [(1, layout.num_tokens, number, size) for number in (num_heads, key_heads, key_heads)]
    made = (torch.randn(shape, device=device, dtype=torch.bfloat16).transpose(1, 2) for shape in shapes)
    return [tensor.requires_grad_() for tensor in made]


def _step(attend: Callable[[], Tensor], given: list[Tensor]) -> None:
    for tensor in given:
        tensor.grad = None
    output = attend()
    output.backward(torch.ones_like(output))
