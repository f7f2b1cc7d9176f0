"""The CUDA path of shared prefixes: is it exact, how much of the card does it use, and what does sharing save?

    python benchmarks/gpu.py                       # a GPU with at least 80 GB; leave 8B out of --shapes for 40 GB
    python benchmarks/gpu.py --dry-run             # tiny shapes on the CPU, to try the script itself

Needs torch, transformers and this repository (`PYTHONPATH=src`). Random weights, forward and backward with the weights
in bf16. Prints a line for each way to share and precision, one for each backend of two processes on the card, and a
Markdown table for docs/performance.md. flash-preference and TRL's tree attention are measured where they install. The
last table is of attention alone: over gathered keys against FlexAttention, for sequences of 256 to 4,096 tokens.

MFU: useful FLOPs of the distinct tokens (6 per weight outside of the embeddings, and the attention's own) over the
seconds taken, over the card's bf16 rate of matrix products, measured in the same run.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gathered_keys
import shared_prefix_peers as peers
import torch
import torch.distributed as dist
import transformers
from torch._dynamo.utils import counters
from transformers import AutoModelForSequenceClassification, PreTrainedModel, Qwen2Config

from rewardsmith.models.compiling import Work, compile_layers
from rewardsmith.models.shared_prefix.attention import IMPLEMENTATION
from rewardsmith.models.shared_prefix.forked import ForkedLayout, fork_groups
from rewardsmith.models.shared_prefix.forward import last_layer
from rewardsmith.models.shared_prefix.packing import RewardBatch, pack, pad_rows
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.shared_prefix.varlen import has_kernel
from rewardsmith.training.processes import close_processes

# Shapes of Qwen2.5-0.5B and 1.5B, and of Llama-3.1-8B with Qwen2's layers.
SHAPES = {
    "tiny": (2, 64, 128, 4, 2, 512),
    "0.5B": (24, 896, 4864, 14, 2, 151_936),
    "1.5B": (28, 1536, 8960, 12, 2, 151_936),
    "8B": (32, 4096, 14_336, 32, 8, 128_256),
}
# Three quarters of a sequence are prompt: long prompts with answers of a few hundred tokens.
PROMPT_SHARE = 0.75
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
BACKENDS = ("gloo", "nccl")
SECONDS_TO_WAIT = 240
PEERS = {"flash-preference": peers.flash_preference, "TRL's tree": peers.trl_tree}
HEADER = ("shape", "answers", "tokens", "MFU", "tokens saved against rows", "time against padded rows",
          "time against packed rows", *(f"time against {name}" for name in PEERS), "peak GiB, ours / padded rows",
          "recompiles")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the table: a shape, K answers and the tokens of a packed batch."""

    shape: str
    answers: int
    tokens: int

    @property
    def vocabulary(self) -> int:
        """How many token ids the shape has."""
        return SHAPES[self.shape][-1]


def main() -> int:
    """Check exactness, measure every case and print the table. Returns 1 where sharing is not exact."""
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{datetime.date.today()}, torch {torch.__version__}, transformers {transformers.__version__}, {what}")
    exact = [line for dtype in LIMITS for line in exactness(arguments.shapes[0], device, dtype)]
    print("\n".join(text for _, text in exact))
    if not all(is_exact for is_exact, _ in exact):
        return 1
    for backend in BACKENDS:
        print(f"two processes on one device, {backend}: {two_processes(backend, device)}", flush=True)
    rate = gemm_rate(device, 512 if arguments.dry_run else 8192)
    print(f"bf16 matrix products: {rate / 1e12:.2f} TFLOP/s\n")
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
    for case in [Case(s, k, t) for s in arguments.shapes for t in arguments.tokens for k in arguments.answers]:
        print(Measurement(case, device, arguments.repeats, arguments.compile).row(rate), flush=True)
    print("\n".join(["", *attention_alone(arguments, device)]))
    return 0


def attention_alone(arguments: argparse.Namespace, device: torch.device) -> list[str]:
    """Return the table of attention over gathered keys against FlexAttention, or why there is none."""
    if not has_kernel(device):
        return ["attention over gathered keys: not measured, it needs CUDA and torch 2.12"]
    _, width, _, heads, key_heads, _ = SHAPES[arguments.shapes[0]]
    sizes = (heads, key_heads, width // heads)
    return gathered_keys.rows(max(arguments.tokens), sizes, device, lambda work: timed(work, device, arguments.repeats))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU, to try the script")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", nargs="+", default=["0.5B", "1.5B", "8B"], choices=list(SHAPES))
    parser.add_argument("--tokens", nargs="+", type=int, default=[512, 2048, 8192], help="tokens of a packed batch")
    parser.add_argument("--answers", nargs="+", type=int, default=[2, 4, 9])
    parser.add_argument("--compile", action="store_true", help="compile the layers, as `train --compile on` does")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.dry_run:
        small = {"device": "cpu", "shapes": ["tiny"], "tokens": [64, 128], "repeats": 1}
        arguments = argparse.Namespace(**{**vars(arguments), **small})
    return arguments


def build(shape: str, device: torch.device, dtype: torch.dtype, attention: str | None = None) -> PreTrainedModel:
    """Build a reward model of random weights, the same at every call."""
    torch.manual_seed(0)
    layers, width, inner, heads, key_heads, vocabulary = SHAPES[shape]
    config = Qwen2Config(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=vocabulary,
        max_position_embeddings=32_768,
        pad_token_id=0,
        use_cache=False,
    )
    config.num_labels = 1
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config, dtype=dtype, attn_implementation=attention)
    return model.train()


def make_groups(case: Case, shared: bool = True, shift: int = 0) -> list[list[list[int]]]:
    """Make groups of K answers whose packed form has about `case.tokens` tokens; `shift` moves the prompt's end."""
    generator = torch.Generator().manual_seed(case.answers)
    prompt = max(4, int(case.tokens * PROMPT_SHARE / (PROMPT_SHARE + case.answers * (1 - PROMPT_SHARE)))) - shift
    answer = max(2, (case.tokens - prompt) // case.answers)

    def draw(count: int) -> list[int]:
        return torch.randint(1, case.vocabulary, (count,), generator=generator).tolist()

    start = draw(prompt)
    sequences = [start + draw(answer) for _ in range(case.answers)]
    return [sequences] if shared else [[sequence] for sequence in sequences]


def step(model: torch.nn.Module, batch: RewardBatch) -> torch.Tensor:
    """Run forward and backward of a loss in which every reward counts. Shapes: -> rewards (B,)."""
    rewards_B = model(reward_batch=batch).logits[:, 0]
    torch.nn.functional.softplus(-rewards_B).mean().backward()
    return rewards_B.detach()


def exactness(shape: str, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[bool, str]]:
    """Compare rewards and gradients of every way to share with those of separate rows.

    Yields whether the difference is allowed, and a line that says so.
    """
    groups = make_groups(Case(shape, 4, 300))
    other = build(shape, device, dtype)
    prepare_model(other, share=False)
    expected = step(other, pad_rows(groups, pad_token_id=0).to(device))
    for way in ("packed", "packed by FlexAttention", "packed, compiled", "forked", "forked in parts"):
        model = copy.deepcopy(other).requires_grad_(True)
        model.zero_grad(set_to_none=True)
        plan = prepare_model(model, share=True)
        if way.startswith("packed ") and not has_kernel(device):
            continue
        if way == "packed by FlexAttention":
            model.set_attn_implementation(IMPLEMENTATION)
        if way == "packed, compiled" and device.type != "cuda":
            continue
        if way == "packed, compiled":
            compile_layers(model, "on", Work(0, trains=True))
        parts = 128 if way == "forked in parts" else None
        batch = plan.batch(groups) if "packed" in way else fork_groups(groups, ForkedLayout(0, parts))
        rewards = step(model, batch.to(device))
        error = max(difference(rewards, expected), difference(gradients(model), gradients(other)))
        line = f"exactness, {shape}, {dtype}, {way}: rewards and gradients differ by {error:.1e}"
        yield error <= LIMITS[dtype], f"{line} (allowed {LIMITS[dtype]:.0e})"


def gradients(model: torch.nn.Module) -> torch.Tensor:
    """Return all gradients as one vector."""
    found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return torch.cat([gradient.flatten() for gradient in found])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the relative difference of two tensors in the 2-norm."""
    return float((a.float() - b.float()).norm() / b.float().norm().clamp_min(1e-12))


def two_processes(backend: str, device: torch.device) -> str:
    """Compare the gradient that two processes share on one device with that of one process; or say why not."""
    if backend == "nccl" and device.type != "cuda":
        return "needs CUDA"
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        running = [context.Process(target=one_of_two, args=(rank, backend, str(device), folder)) for rank in range(2)]
        for process in running:
            process.start()
        for process in running:
            process.join(SECONDS_TO_WAIT)
            if process.is_alive():
                process.kill()
        failed = sorted(Path(folder).glob("error-*"))
        if failed:
            return f"not possible: {failed[0].read_text()}"
        if any(process.exitcode for process in running):
            return f"not possible: ended with {[process.exitcode for process in running]}"
        found = torch.load(Path(folder) / "gradient.pt")
    alone = build("tiny", device, torch.float32)
    plan = prepare_model(alone, share=True)
    for rank in range(2):
        step(alone, plan.batch(make_groups(Case("tiny", 2 + rank, 64))).to(device))
    return f"the gradient differs from that of one process by {difference(found, gradients(alone).cpu() / 2):.1e}"


def one_of_two(rank: int, backend: str, device: str, folder: str) -> None:
    """Compute one process's half of a step, and keep the gradient that both agree on."""
    try:
        store = f"file://{folder}/store"
        wait = datetime.timedelta(seconds=SECONDS_TO_WAIT // 2)
        dist.init_process_group(backend, init_method=store, rank=rank, world_size=2, timeout=wait)
        model = build("tiny", torch.device(device), torch.float32)
        plan = prepare_model(model, share=True)
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        step(wrapped, plan.batch(make_groups(Case("tiny", 2 + rank, 64))).to(device))
        if rank == 0:
            torch.save(gradients(model).cpu(), Path(folder) / "gradient.pt")
        dist.barrier()
    except RuntimeError as error:
        Path(folder, f"error-{rank}").write_text(str(error).splitlines()[0][:200])
    close_processes()


def gemm_rate(device: torch.device, size: int) -> float:
    """Return the bf16 rate of square matrix products in FLOP/s."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = timed(lambda: a @ a, device, 10)
    return 2 * size**3 / seconds


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the seconds of one call, the mean of `repeats` after three warm-ups."""
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


def useful_flops(model: PreTrainedModel, batch: RewardBatch) -> float:
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


class Measurement:
    """One case on one device: the model, its batch, and what the other ways take for the same rewards."""

    def __init__(self, case: Case, device: torch.device, repeats: int, compiled: bool) -> None:
        self.case, self.device, self.repeats = case, device, repeats
        self.model = build(case.shape, device, torch.bfloat16)
        self.plan = prepare_model(self.model, share=True)
        if compiled:
            compile_layers(self.model, "on", Work(0, trains=True))

    def row(self, rate: float) -> str:
        """Return the row of the table."""
        packed = self.plan.batch(make_groups(self.case)).to(self.device)
        alone = pack(make_groups(self.case, shared=False), pad_to=self.plan.pad_to).to(self.device)
        rows = pad_rows(make_groups(self.case), pad_token_id=0).to(self.device)
        seconds, peak = self.of_batch(packed)
        recompiles = self.recompiles()
        padded, padded_peak = self.of_batch(rows)
        separate, _ = self.of_batch(alone)
        share = useful_flops(self.model, packed) / seconds / rate
        saved = packed.logical_tokens / packed.distinct_tokens
        # The peers need the room.
        self.model.to("meta")
        others = [self.against(peer, seconds) for peer in PEERS.values()]
        peaks = f"{peak:.1f} / {padded_peak:.1f}"
        case = [self.case.shape, self.case.answers, packed.distinct_tokens, f"{share:.2f}", f"{saved:.2f}x"]
        cells = [*case, f"{padded / seconds:.2f}x", f"{separate / seconds:.2f}x", *others, peaks, recompiles]
        return "| " + " | ".join(map(str, cells)) + " |"

    def of_batch(self, batch: RewardBatch) -> tuple[float, float]:
        """Return the seconds and the peak GiB of a step; NaN where the memory does not suffice or is not counted."""
        if self.device.type != "cuda":
            return timed(lambda: self.work(batch), self.device, self.repeats), float("nan")
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            seconds = timed(lambda: self.work(batch), self.device, self.repeats)
        except torch.cuda.OutOfMemoryError:
            self.model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            return float("nan"), float("nan")
        return seconds, torch.cuda.max_memory_allocated(self.device) / 2**30

    def work(self, batch: RewardBatch) -> None:
        """Run one step."""
        self.model.zero_grad(set_to_none=True)
        step(self.model, batch)

    def recompiles(self) -> int:
        """Return how many graphs batches of other lengths add to those that are compiled."""
        before = counters["stats"]["unique_graphs"]
        for shift in range(1, min(self.case.tokens // 8, 6)):
            self.work(self.plan.batch(make_groups(self.case, shift=shift)).to(self.device))
        return counters["stats"]["unique_graphs"] - before

    def against(self, peer: peers.Peer, seconds: float) -> str:
        """Return how many times as long a peer takes for the same rewards, or why it was not measured."""
        if self.device.type != "cuda":
            return "needs CUDA"
        try:
            run = peer(lambda attention: build(self.case.shape, self.device, torch.bfloat16, attention),
                       make_groups(self.case)[0])  # fmt: skip
            return f"{timed(run, self.device, self.repeats) / seconds:.2f}x"
        except Exception as error:  # of a package that is not ours: whatever it raises is why there is no figure
            return f"not run: {(str(error) or type(error).__name__).splitlines()[0][:60]}"
        finally:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    raise SystemExit(main())
