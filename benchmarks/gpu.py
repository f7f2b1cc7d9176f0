"""The CUDA path of shared prefixes: is it exact, how much of the card does it use, and what does sharing save?

    python benchmarks/gpu.py                       # a GPU with at least 40 GB
    python benchmarks/gpu.py --device cpu --tiny   # a smoke test of the script itself

Needs torch, transformers and this repository (`PYTHONPATH=src`). Random weights, forward and backward in bf16 autocast
with the weights in bf16. Prints a Markdown table for docs/performance.md.

MFU: useful FLOPs of the distinct tokens (6 per weight outside of the embeddings, and the attention's own) over the
seconds taken, over the card's bf16 rate of matrix products, measured in the same run.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers
from transformers import AutoModelForSequenceClassification, Qwen2Config

from rewardsmith.models.shared_prefix.forward import last_layer
from rewardsmith.models.shared_prefix.packing import RewardBatch, pack, pad_rows
from rewardsmith.models.shared_prefix.plan import prepare_model

# Shapes of Qwen2.5-0.5B and 1.5B.
SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512},
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "vocab_size": 151_936},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151_936},
}  # fmt: skip
# Three quarters of a sequence are prompt: long prompts with answers of a few hundred tokens.
PROMPT_SHARE = 0.75


@dataclass(frozen=True)
class Case:
    """One row of the table: a shape, K answers and the tokens of a packed batch."""

    shape: str
    answers: int
    tokens: int


def main() -> int:
    """Check exactness, measure every case and print the table."""
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    print(
        f"{datetime.date.today()}, torch {torch.__version__}, transformers {transformers.__version__}, {name(device)}"
    )
    shapes = ["tiny"] if arguments.tiny else arguments.shapes
    budgets = [256] if arguments.tiny else arguments.tokens
    for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
        error = exactness(shapes[0], device, dtype)
        print(f"exactness, {shapes[0]}, {dtype}: rewards and gradients differ by {error:.1e} (allowed {limit:.0e})")
        if not error <= limit:
            return 1
    rate = gemm_rate(device, 512 if arguments.tiny else 8192)
    print(f"bf16 matrix products: {rate / 1e12:.2f} TFLOP/s\n")
    print(
        "| shape | answers | tokens | MFU | tokens saved against rows | time against padded rows |"
        " time against packed rows | peak GiB |\n|---|---|---|---|---|---|---|---|"
    )
    for case in [Case(s, k, t) for s in shapes for t in budgets for k in arguments.answers]:
        print(measure(case, device, rate, arguments.repeats), flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, to try the script")
    parser.add_argument("--shapes", nargs="+", default=["0.5B", "1.5B"], choices=list(SHAPES))
    parser.add_argument("--tokens", nargs="+", type=int, default=[2048, 8192], help="tokens of a packed batch")
    parser.add_argument("--answers", nargs="+", type=int, default=[2, 4, 9])
    parser.add_argument("--repeats", type=int, default=10)
    return parser.parse_args()


def name(device: torch.device) -> str:
    """Name the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def build(shape: str, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Build a reward model of random weights."""
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPES[shape], max_position_embeddings=32_768, num_labels=1, pad_token_id=0)
    return AutoModelForSequenceClassification.from_config(config).to(device=device, dtype=dtype).train()


def make_groups(case: Case, vocabulary: int, shared: bool = True) -> list[list[list[int]]]:
    """Make groups of K answers whose packed form has about `case.tokens` tokens."""
    generator = torch.Generator().manual_seed(case.answers)
    prompt = max(4, int(case.tokens * PROMPT_SHARE / (PROMPT_SHARE + case.answers * (1 - PROMPT_SHARE))))
    answer = max(2, (case.tokens - prompt) // case.answers)

    def draw(count: int) -> list[int]:
        return torch.randint(1, vocabulary, (count,), generator=generator).tolist()

    start = draw(prompt)
    sequences = [start + draw(answer) for _ in range(case.answers)]
    return [sequences] if shared else [[sequence] for sequence in sequences]


def step(model: torch.nn.Module, batch: RewardBatch) -> torch.Tensor:
    """Run forward and backward of a loss in which every reward counts. Shapes: -> rewards (B,)."""
    rewards_B = model(reward_batch=batch).logits[:, 0]
    torch.nn.functional.softplus(-rewards_B).mean().backward()
    return rewards_B.detach()


def exactness(shape: str, device: torch.device, dtype: torch.dtype) -> float:
    """Give the largest relative difference of rewards and gradients between packed and separate rows."""
    model = build(shape, device, dtype)
    other = copy.deepcopy(model)
    plan = prepare_model(model, share=True)
    prepare_model(other, share=False)
    groups = make_groups(Case(shape, 4, 300), SHAPES[shape]["vocab_size"])
    rewards = step(model, plan.batch(groups).to(device))
    expected = step(other, pad_rows(groups, pad_token_id=0).to(device))
    errors = [difference(rewards, expected)]
    pairs = [
        (a.grad, b.grad) for a, b in zip(model.parameters(), other.parameters(), strict=True) if b.grad is not None
    ]
    errors.append(difference(torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs])))
    return max(errors)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Give the relative difference of two tensors in the 2-norm."""
    return float((a.float() - b.float()).norm() / b.float().norm().clamp_min(1e-12))


def gemm_rate(device: torch.device, size: int) -> float:
    """Give the bf16 rate of square matrix products in FLOP/s."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = timed(lambda: a @ a, device, 10)
    return 2 * size**3 / seconds


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Give the seconds of one call, the mean of `repeats` after three warm-ups."""
    for _ in range(3):
        work()
    synchronise(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronise(device)
    return (time.perf_counter() - started) / repeats


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def useful_flops(model: torch.nn.Module, case: Case, batch: RewardBatch) -> float:
    """Count forward and backward of the distinct tokens: weights outside of the embeddings, and attention.

    Of the last layer only keys and values count for every token, the rest for scored tokens alone.
    """
    weights = sum(p.numel() for n, p in model.named_parameters() if "embed" not in n)
    config = model.config
    layout = batch.chunks[0].layout  # type: ignore[union-attr]
    seen = sum(p * p / 2 + sum(b * (p + b / 2) for b in branches) for p, branches in layout.groups)
    seen_by_scored = sum(p * len(branches) + sum(branches) for p, branches in layout.groups)
    attention = seen * (config.num_hidden_layers - 1) + seen_by_scored
    last = sum(p.numel() for part in last_layer(model.model).tokenwise for p in part.parameters())
    needed = weights * batch.distinct_tokens - last * (batch.distinct_tokens - len(batch.chunks[0].last_U))
    return 6 * needed + 12 * config.hidden_size * attention


def measure(case: Case, device: torch.device, rate: float, repeats: int) -> str:
    """Measure one case and give its row."""
    model = build(case.shape, device, torch.bfloat16)
    vocabulary = SHAPES[case.shape]["vocab_size"]
    plan = prepare_model(model, share=True)
    packed = plan.batch(make_groups(case, vocabulary)).to(device)
    alone = pack(make_groups(case, vocabulary, shared=False), pad_to=plan.pad_to).to(device)
    rows = pad_rows(make_groups(case, vocabulary), pad_token_id=0).to(device)

    def run(batch: RewardBatch) -> Callable[[], None]:
        def work() -> None:
            model.zero_grad(set_to_none=True)
            step(model, batch)

        return work

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = timed(run(packed), device, repeats)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")
    padded, separate = timed(run(rows), device, repeats), timed(run(alone), device, repeats)
    share = useful_flops(model, case, packed) / seconds / rate
    saved = packed.logical_tokens / packed.distinct_tokens
    return (
        f"| {case.shape} | {case.answers} | {packed.distinct_tokens} | {share:.2f} | {saved:.2f}x | "
        f"{padded / seconds:.2f}x | {separate / seconds:.2f}x | {peak:.1f} |"
    )


if __name__ == "__main__":
    raise SystemExit(main())
