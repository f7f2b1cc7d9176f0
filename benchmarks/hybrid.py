"""Train a hybrid (gated delta rule and attention, as Qwen3.5) with shared prefixes and on separate rows, in turn.

    REWARDSMITH_DATA=... python benchmarks/hybrid.py --data finegrained --pairs 128

Both sides are the same 25M-parameter model and the same optimizer, on batches of the same token budget: answers
over forked caches, and distinct rows of like length. Printed are the ratio of their times and that of the tokens they
compute: what sharing could give at most, were a token as fast either way.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from comparison_data import sample_pairs
from counted_work import sequences_by_prompt
from train_vs_trl import threads, train_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Qwen3_5TextConfig

from rewardsmith.models.shared_prefix.packing import fill_batches
from rewardsmith.models.shared_prefix.plan import ForwardPlan, prepare_model

Batches = list[Any]


def main() -> None:
    """Print the medians of the turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="finegrained", choices=["hh", "finegrained", "rmb", "wmt"])
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--tokens-per-batch", type=int, default=4096)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=512)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(train_tokenizer(args.data))
    pairs = sample_pairs(args.data, args.pairs, lambda pair: len(pair["prompt"] + pair["chosen"]) < 4000, 0)
    groups = sequences_by_prompt(pairs, tokenizer)
    model = build(args.hidden, len(tokenizer))
    weights = sum(parameter.numel() for parameter in model.parameters())
    sides = {"shared": prepare_model(model), "rows": prepare_model(model, share=False)}
    print(
        f"{args.data}: {len(groups)} prompts, {weights / 1e6:.0f}M weights, {sides['shared'].way}, {threads()} threads"
    )
    batches = {name: fill(groups, plan, args.tokens_per_batch) for name, plan in sides.items()}
    tokens = {name: sum(batch.distinct_tokens for batch in found) for name, found in batches.items()}
    for found in batches.values():
        train(model, found[:1])
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(args.repetitions):
        for name, found in batches.items():
            seconds[name].append(train(model, found))
    for clock, what in enumerate(("clock", "processor time")):
        ratios = [a[clock] / b[clock] for a, b in zip(seconds["rows"], seconds["shared"], strict=True)]
        saved, ratio = tokens["rows"] / tokens["shared"], statistics.median(ratios)
        print(
            f"{what}: rows / shared {ratio:.2f}x ({min(ratios):.2f}-{max(ratios):.2f}), tokens {saved:.2f}x, "
            f"share of it reached {ratio / saved:.2f}"
        )


def build(hidden: int, vocabulary: int) -> torch.nn.Module:
    """Return the hybrid: three layers of the gated delta rule to one of attention, as Qwen3.5 has them."""
    torch.manual_seed(0)
    config = Qwen3_5TextConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"],
        num_hidden_layers=4,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        head_dim=64,
        linear_num_value_heads=hidden // 64,
        linear_num_key_heads=hidden // 64,
        linear_key_head_dim=64,
        linear_value_head_dim=64,
        max_position_embeddings=4096,
        num_labels=1,
        pad_token_id=0,
    )
    return AutoModelForSequenceClassification.from_config(config).train()


def fill(groups: list[list[list[int]]], plan: ForwardPlan, budget: int) -> Batches:
    """Fill batches by the tokens that a plan computes."""
    places = fill_batches([plan.cost(group) for group in groups], budget)
    return [plan.batch([groups[place] for place in batch], budget) for batch in places]


def train(model: torch.nn.Module, batches: Batches) -> tuple[float, float]:
    """Take a step a batch. Returns seconds by the clock and of the processor."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    started = time.perf_counter(), time.process_time()
    for batch in batches:
        rewards = model(reward_batch=batch).logits[:, 0]
        torch.nn.functional.softplus(rewards[1:] - rewards[:-1]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started[0], time.process_time() - started[1]


if __name__ == "__main__":
    main()
