"""Measure what each part of a training step buys: everything on, and one thing off at a time, in turn.

    REWARDSMITH_DATA=... OMP_NUM_THREADS=1 python benchmarks/steps.py --data finegrained --pairs 36

All sides train the same 25M Qwen2 on the same pairs: forward, backward and a step of the optimizer; they take turns.
`ours` merges the pairs of a prompt, fills batches by tokens, packs them and computes of the last layer what scored
tokens need. Ratios are of processor time, so that other work on the machine weighs little; medians and ranges of the
turns. The last line is what laying out the batches costs, which is all that a loader running ahead could hide: texts
are tokenised before the first step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from comparison_data import sample_pairs
from counted_work import sequences_by_prompt
from train_vs_trl import threads, train_tokenizer
from transformers import AutoTokenizer

from rewardsmith.models import fresh_model
from rewardsmith.models.compiling import Work, compile_layers, repeated_layers, uncompiled
from rewardsmith.models.shared_prefix.packing import RewardBatch, fill_batches
from rewardsmith.models.shared_prefix.plan import ForwardPlan, prepare_model

Groups = list[list[list[int]]]
OPTIMISERS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}


def main() -> None:
    """Print one line a side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="finegrained", choices=["hh", "finegrained", "rmb", "wmt"])
    parser.add_argument("--pairs", type=int, default=36)
    parser.add_argument("--pairs-per-batch", type=int, default=8, help="of the side that counts rows, not tokens")
    parser.add_argument("--tokens-per-batch", type=int, default=4096)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--shape", default="base")
    parser.add_argument("--compile", action="store_true", help="also measure compiled layers")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(train_tokenizer(args.data))
    pairs = sample_pairs(args.data, args.pairs, lambda pair: len(pair["prompt"] + pair["chosen"]) < 4000, 0)
    merged = sequences_by_prompt(pairs, tokenizer)
    alone = [group for pair in pairs for group in sequences_by_prompt([pair], tokenizer)]
    model = fresh_model.build_model(args.shape, tokenizer, 0).train()
    plan, rows = prepare_model(model), prepare_model(model, share=False)
    ours = fill(merged, plan, args.tokens_per_batch)
    by_count = [alone[start : start + args.pairs_per_batch] for start in range(0, len(alone), args.pairs_per_batch)]
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: train(model, ours),
        "prompts not merged": lambda: train(model, fill(alone, plan, args.tokens_per_batch)),
        "batches of pairs, not merged": lambda: train(model, [plan.batch(groups) for groups in by_count]),
        "all of the last layer": lambda: train(model, [replace(batch, narrows=False) for batch in ours]),
        "forked cache, not packed": lambda: train(
            model, fill(merged, replace(plan, way="forked"), args.tokens_per_batch)
        ),
        "distinct rows, nothing shared": lambda: train(model, fill(merged, rows, args.tokens_per_batch)),
        "padded rows of pairs": lambda: train(model, [rows.batch(groups) for groups in by_count]),
        "optimizer foreach": lambda: train(model, ours, "foreach"),
        "optimizer in a loop": lambda: train(model, ours, "loop"),
    }
    if args.compile:
        print(compile_layers(model, "on", Work(0, trains=True)))
        train(model, ours)
        sides = {name: plainly(model, side) for name, side in sides.items()}
        sides["compiled layers"] = lambda: train(model, ours)
    print(
        f"{args.data}: {len(pairs)} pairs of {len(merged)} prompts, {len(ours)} steps of at most "
        f"{args.tokens_per_batch} tokens, {threads()} thread(s)"
    )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(args.repetitions + 1):
        for name, side in sides.items():
            started = time.process_time()
            side()
            if turn:
                seconds[name].append(time.process_time() - started)
    for name, took in seconds.items():
        ratios = [one / base for one, base in zip(took, seconds["ours"], strict=True)]
        print(
            f"{name}: {statistics.median(took):.1f} s of the processor, {statistics.median(ratios):.2f}x "
            f"({min(ratios):.2f}-{max(ratios):.2f}) of ours",
            flush=True,
        )
    started = time.process_time()
    fill(merged, plan, args.tokens_per_batch)
    share = (time.process_time() - started) / statistics.median(seconds["ours"])
    print(f"laying out the batches: {share:.2%} of ours")


def plainly(model: torch.nn.Module, side: Callable[[], object]) -> Callable[[], object]:
    """Return a side that runs without the compiled layers."""

    def run() -> None:
        with uncompiled(repeated_layers(model)):
            side()

    return run


def fill(groups: Groups, plan: ForwardPlan, budget: int) -> list[RewardBatch]:
    """Fill batches by the tokens that a plan computes."""
    places = fill_batches([plan.cost(group) for group in groups], budget)
    return [plan.batch([groups[place] for place in batch], budget) for batch in places]


def train(model: torch.nn.Module, batches: list[RewardBatch], optimiser: str = "fused") -> None:
    """Take a step a batch; the weights do not move, so that all sides meet the same ones."""
    step = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, **OPTIMISERS[optimiser])
    for batch in batches:
        rewards = model(reward_batch=batch).logits[:, 0]
        torch.nn.functional.softplus(rewards[1:] - rewards[:-1]).mean().backward()
        step.step()
        step.zero_grad()


if __name__ == "__main__":
    main()
