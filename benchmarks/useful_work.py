"""Measure which share of the machine's rate of matrix products goes into useful work in one batch.

    REWARDSMITH_DATA=... python benchmarks/useful_work.py --data rmb --tokens 2048 4096 8192

One batch of real pairs is computed forward and backward, without the optimizer, again and again; the rate of square
products is measured before and after in the same run. With `MALLOC_MMAP_THRESHOLD_=1073741824
MALLOC_TRIM_THRESHOLD_=2147483647` in the environment, glibc keeps freed memory instead of asking the system anew.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from comparison_data import sample_pairs
from counted_work import count_work, sequences_by_prompt
from train_vs_trl import gemm_rate, threads, train_tokenizer
from transformers import AutoTokenizer

from rewardsmith.models import fresh_model
from rewardsmith.models.compiling import Work, compile_layers, repeated_layers, uncompiled
from rewardsmith.models.shared_prefix.plan import prepare_model


def main() -> None:
    """Print one line a batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="rmb", choices=["hh", "finegrained", "rmb", "wmt"])
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[2048, 4096, 8192], help="distinct tokens of the batch"
    )
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--shape", default="base")
    parser.add_argument(
        "--compile", action="store_true", help="compare steps of compiled layers with plain ones instead"
    )
    args = parser.parse_args()
    path = train_tokenizer(args.data)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = fresh_model.build_model(args.shape, tokenizer, 0).train()
    plan = prepare_model(model)
    if args.compile:
        print(compile_layers(model, "on", Work(0, trains=True)))
    pairs = sample_pairs(args.data, 400, lambda pair: len(pair["prompt"] + pair["chosen"]) < 4000, 0)
    groups = sequences_by_prompt(pairs, tokenizer)
    print(f"{args.data}, shape {args.shape}, fp32, {threads()} threads")
    for budget in args.tokens:
        some, tokens = [], 0
        for group in groups:
            if tokens + plan.cost(group) <= budget:
                some.append(group)
                tokens += plan.cost(group)
        batch = plan.batch(some)
        if args.compile:
            _compare(model, batch, tokens, args.repetitions)
            continue
        before = gemm_rate("fp32")
        seconds = [_seconds(model, batch) for _ in range(args.repetitions + 1)][1:]
        rate = max(before, gemm_rate("fp32"))
        work = count_work(some, model)
        shares = sorted(work["flops"] / second / rate for second in seconds)
        useful = statistics.median(shares)
        print(
            f"{tokens:,} tokens: {tokens / statistics.median(seconds):,.0f} tokens/s, useful {useful:.1%} "
            f"({shares[0]:.1%}-{shares[-1]:.1%}) of {rate / 1e9:.0f} GFLOP/s; with all of the last layer counted "
            f"{useful * work['whole_flops'] / work['flops']:.1%}"
        )


def _compare(model: torch.nn.Module, batch: object, tokens: int, repetitions: int) -> None:
    """Print how compiled steps compare with plain ones, which take turns with them."""
    started = time.process_time()
    _seconds(model, batch)
    first = time.process_time() - started
    took: list[list[float]] = []
    for _ in range(repetitions):
        clock, processor = time.perf_counter(), time.process_time()
        _seconds(model, batch)
        middle = time.perf_counter(), time.process_time()
        with uncompiled(repeated_layers(model)):
            _seconds(model, batch)
        compiled = middle[0] - clock, middle[1] - processor
        took.append([(time.perf_counter() - middle[0]) / compiled[0], (time.process_time() - middle[1]) / compiled[1]])
    clock, processor = (sorted(ratios) for ratios in zip(*took, strict=True))
    print(
        f"{tokens:,} tokens: compiled steps are faster by {statistics.median(clock):.2f}x on the clock, "
        f"{statistics.median(processor):.2f}x ({processor[0]:.2f}-{processor[-1]:.2f}) in processor time, "
        f"of which the first took {first:.0f} s",
        flush=True,
    )


def _seconds(model: torch.nn.Module, batch: object) -> float:
    started = time.perf_counter()
    model(reward_batch=batch).logits.pow(2).mean().backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
