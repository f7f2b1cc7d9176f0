"""Measure the peak memory of training on one large group, in parts of a token budget and in one batch.

    python benchmarks/group_memory.py                                     64 answers of 2,000 tokens, tiny Qwen2
    python benchmarks/group_memory.py --family hybrid --answers 16

Every line is a process of its own: one forward and backward of a k-wise loss on random tokens. `budget` is a group of
`--tokens-per-batch` distinct tokens in one batch, which is what the parts have to fit beside. Memory is the peak
resident memory less what the process held before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

SIDES = ("budget", "parts", "one batch")
HYBRID = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}


def main() -> None:
    """Print one line a side, and the largest difference of its gradients from those of one batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["packed", "hybrid"], default="packed")
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--answer-tokens", type=int, default=2000)
    parser.add_argument("--prompt-tokens", type=int, default=500)
    parser.add_argument("--tokens-per-batch", type=int, default=8192)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    for side in args.sides:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            print(f"{side}: ended with {result.returncode}: {(result.stderr.strip().splitlines() or ['-'])[-1]}")
            continue
        found = json.loads(result.stdout)
        print(
            f"{side}: {found['tokens']:,} distinct tokens, peak {found['mib']:,.0f} MiB, {found['seconds']:.1f} s, "
            f"norm of the gradient {found['norm']:.7g}",
            flush=True,
        )


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Compute one group forward and backward."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from rewardsmith.models.shared_prefix.plan import prepare_model

    torch.manual_seed(0)
    shape = {"hidden_size": args.hidden, "intermediate_size": 2 * args.hidden, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": args.hidden // 4, "vocab_size": 1000}
    shape |= {"max_position_embeddings": 8192, "num_labels": 1, "pad_token_id": 0}
    kind, more = ("qwen2", {}) if args.family == "packed" else ("qwen3_5_text", HYBRID)
    model = AutoModelForSequenceClassification.from_config(CONFIG_MAPPING[kind](**shape, **more)).train()
    plan = prepare_model(model)
    answers = (
        args.answers if args.side != "budget" else (args.tokens_per_batch - args.prompt_tokens) // args.answer_tokens
    )
    prompt = torch.randint(1, 1000, (args.prompt_tokens,)).tolist()
    group = [[*prompt, *torch.randint(1, 1000, (args.answer_tokens,)).tolist()] for _ in range(answers)]
    budget = args.tokens_per_batch if args.side == "parts" else None
    before, started = resident_mib(), time.perf_counter()
    batch = plan.batch([group], budget)
    rewards = model(reward_batch=batch).logits[:, 0]
    (-torch.log_softmax(rewards, 0) * torch.linspace(0, 1, answers)).sum().backward()
    seconds = time.perf_counter() - started
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"mib": peak - before, "seconds": seconds, "tokens": batch.distinct_tokens, "norm": float(norm)}


def resident_mib() -> float:
    """Return what this process holds now, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
