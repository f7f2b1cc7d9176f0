"""Measure what cutting long causal segments into halves buys in attention alone, on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/halved_attention.py --tokens 300 512 768 1024 2048 4096
    REWARDSMITH_DATA=... OMP_NUM_THREADS=1 python benchmarks/halved_attention.py --data hh finegrained rmb wmt

With `--tokens` one segment of each length; with `--data` one packed batch of real pairs. Six heads of 64 numbers in
fp32, forward and backward, whole segments and halved ones in turn; ratios are of processor time, medians and ranges.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch
from comparison_data import sample_pairs
from counted_work import sequences_by_prompt
from train_vs_trl import train_tokenizer
from transformers import AutoTokenizer

from rewardsmith.models.shared_prefix import attention
from rewardsmith.models.shared_prefix.attention import SegmentPlan, attend_by_segments, segment_plan
from rewardsmith.models.shared_prefix.packing import PackedChunk, PrefixLayout, count_tokens, pack

WHOLE = 10**9


def main() -> None:
    """Print one line a length or data set, and a number of tokens from which segments are halved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="*", default=[])
    parser.add_argument("--data", nargs="*", default=[], choices=["hh", "finegrained", "rmb", "wmt"])
    parser.add_argument("--halved-from", type=int, nargs="+", default=[192, attention.HALVED_FROM, 512])
    parser.add_argument("--tokens-per-batch", type=int, default=4096)
    parser.add_argument("--repetitions", type=int, default=7)
    args = parser.parse_args()
    layouts = {f"{length} tokens": PrefixLayout(((length, ()),)) for length in args.tokens}
    layouts |= {f"{name}, a batch": layout_of(name, args.tokens_per_batch) for name in args.data}
    for name, layout in layouts.items():
        compare(name, layout, args.halved_from, args.repetitions)


def layout_of(data: str, budget: int) -> PrefixLayout:
    """Pack the first prompts that fit."""
    tokenizer = AutoTokenizer.from_pretrained(train_tokenizer(data))
    pairs = sample_pairs(data, 200, lambda pair: len(pair["prompt"] + pair["chosen"]) < 4000, 0)
    some, tokens = [], 0
    for group in sequences_by_prompt(pairs, tokenizer):
        if tokens + count_tokens(group) <= budget:
            some.append(group)
            tokens += count_tokens(group)
    (chunk,) = pack(some).chunks
    assert isinstance(chunk, PackedChunk)
    return chunk.layout


def compare(name: str, layout: PrefixLayout, halved_from: list[int], repetitions: int) -> None:
    """Print how much faster attention over `layout` is when segments of so many tokens are halved."""
    tensors = [torch.randn(1, layout.num_tokens, 6, 64).transpose(1, 2).requires_grad_() for _ in range(3)]
    plan = segment_plan(layout)
    took: dict[int, list[tuple[float, float]]] = {size: [] for size in (WHOLE, *halved_from)}
    for turn in range(repetitions + 1):
        for size, seconds in took.items():
            attention.HALVED_FROM = size
            found = measure(tensors, replace(plan))
            if turn:
                seconds.append(found)
    for size in halved_from:
        pairs = list(zip(took[WHOLE], took[size], strict=True))
        both = sorted(sum(whole) / sum(halved) for whole, halved in pairs)
        forward = statistics.median(whole[0] / halved[0] for whole, halved in pairs)
        print(
            f"{name}, halved from {size}: faster by {statistics.median(both):.2f}x ({both[0]:.2f}-{both[-1]:.2f}), "
            f"forward alone {forward:.2f}x",
            flush=True,
        )


def measure(tensors: list[torch.Tensor], plan: SegmentPlan) -> tuple[float, float]:
    """Return the processor time in s of a forward and of a backward."""
    query, key, value = tensors
    started = time.process_time()
    output = attend_by_segments(query, key, value, plan, (None, None))
    middle = time.process_time()
    output.backward(torch.ones_like(output))
    ended = time.process_time()
    for tensor in tensors:
        tensor.grad = None
    return middle - started, ended - middle


if __name__ == "__main__":
    main()
