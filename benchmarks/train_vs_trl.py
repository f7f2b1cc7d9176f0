"""Train the same model on the same pairs with the same loss, once with TRL and once with Rewardsmith.

    pip install 'rewardsmith[bench]'
    python benchmarks/train_vs_trl.py --data hh finegrained rmb wmt --repetitions 3 --dtype fp32

Every run is a process of its own, so that its peak memory is its own. The sides take turns. Only `trainer.train()` is
timed, after a warm-up on the same shapes of program; loading and tokenising are left out on both sides.

With `-compiled` behind its name a side trains with `torch_compile=True`; what is compiled in the warm-up is not timed,
what TRL compiles anew for other shapes is.

Sides: `ours` (prompts merged, batches filled by tokens), `ours-rows` (drop-in: TRL's batches in TRL's order), `trl` (as
it is), `trl-sorted` (rows sorted beforehand into batches of like length, batches in random order).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PLAIN_SIDES = ("trl", "ours", "trl-sorted", "ours-rows")
COMPILED = "-compiled"
SIDES = (*PLAIN_SIDES, *(side + COMPILED for side in PLAIN_SIDES))
CACHE = Path(__file__).parent / "cache"
VOCABULARY = 30_000


def main() -> int:
    """Run every data set and print one table each."""
    arguments = parse_arguments()
    if arguments.worker:
        return worker(json.loads(Path(arguments.worker).read_text()))
    rate = gemm_rate(arguments.dtype)
    print(f"GEMM rate of this machine, {arguments.dtype}: {rate / 1e9:.1f} GFLOP/s with {threads()} threads")
    for name in arguments.data:
        compare(name, arguments, rate)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["hh", "finegrained", "rmb", "wmt"])
    parser.add_argument("--pairs", type=int, help="pairs a data set; whole prompts are drawn (default: 128, wmt 512)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(PLAIN_SIDES))
    parser.add_argument("--batch-size", type=int, default=8, help="pairs of a TRL batch")
    parser.add_argument("--tokens-per-batch", type=int, help="distinct tokens of our batch (default: 4096, wmt 2048)")
    parser.add_argument("--max-length", type=int, default=1024, help="pairs with a longer side are not drawn")
    parser.add_argument("--shape", default="base", help="tiny, small or base (25M with the 30k vocabulary)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="write every measurement here as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def threads() -> int:
    """Return the threads that torch uses."""
    import torch

    return torch.get_num_threads()


def gemm_rate(dtype: str, seconds: float = 2.0) -> float:
    """Return the best rate in FLOP/s of square products, over a few sizes."""
    import torch

    kind = torch.float32 if dtype == "fp32" else torch.bfloat16
    best = 0.0
    for size in (512, 1024, 2048):
        a, b = torch.randn(size, size, dtype=kind), torch.randn(size, size, dtype=kind)
        a @ b
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds / 3:
            a @ b
            count += 1
        best = max(best, 2 * size**3 * count / (time.perf_counter() - started))
    return best


# One data set


def compare(name: str, arguments: argparse.Namespace, rate: float) -> None:
    """Measure all sides in turn and print the table of one data set."""
    from comparison_data import sample_pairs

    # WMT's rows are sentences: it takes more of them to fill a batch, and TRL's batch of 8 needs little memory.
    default_pairs, default_tokens = (512, 2048) if name == "wmt" else (128, 4096)
    chosen = {**vars(arguments)}
    chosen["pairs"] = arguments.pairs or default_pairs
    chosen["tokens_per_batch"] = arguments.tokens_per_batch or default_tokens
    arguments = argparse.Namespace(**chosen)

    tokenizer_path = train_tokenizer(name)
    length = length_of(tokenizer_path)
    limit = arguments.max_length

    def fits(pair: dict[str, str]) -> bool:
        return max(length(pair["prompt"] + pair[side]) for side in ("chosen", "rejected")) < limit

    pairs = sample_pairs(name, arguments.pairs, fits, arguments.seed)
    prompts = len({pair["prompt"] for pair in pairs})
    print(f"\n{name}: {len(pairs)} pairs over {prompts} prompts, {arguments.dtype}, shape {arguments.shape}")
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in arguments.sides}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(arguments.repetitions):
            for side in arguments.sides:
                job = {
                    **vars(arguments),
                    "side": side,
                    "tokenizer": str(tokenizer_path),
                    "folder": folder,
                    "rows": pairs,
                }
                job["weights"] = str(Path(folder) / f"{side}.pt")
                measured[side].append(run_worker(job, Path(folder) / f"{side}-{repetition}.json"))
        print_table(measured, rate, weight_distances(folder, arguments.sides))
    if arguments.output:
        with Path(arguments.output).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"data": name, "dtype": arguments.dtype, "gemm": rate, "sides": measured}) + "\n")


def train_tokenizer(name: str) -> Path:
    """Train the 30k tokenizer of a data set, or take it from the cache."""
    from comparison_data import texts

    from rewardsmith.models import fresh_model

    path = CACHE / f"tokenizer-{name}-{VOCABULARY}"
    if not (path / "tokenizer.json").is_file():
        fresh_model.train_tokenizer(texts(name), VOCABULARY).save_pretrained(path)
    return path


def length_of(tokenizer_path: Path) -> Any:
    """Return the function that counts the tokens of a text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    return lambda text: len(tokenizer(text)["input_ids"])


def run_worker(job: dict[str, Any], path: Path) -> dict[str, Any]:
    """Run one side in a process of its own. Raises CalledProcessError with its output when it fails."""
    path.write_text(json.dumps(job))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    result = subprocess.run(
        [sys.executable, __file__, "--worker", str(path)], capture_output=True, text=True, env=environment
    )
    if result.returncode:
        raise SystemExit(f"{job['side']} failed:\n{result.stderr[-3000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def weight_distances(folder: str, sides: list[str]) -> dict[str, float]:
    """Return each side's final weights' distance from TRL's, relative to how far TRL's moved."""
    import torch

    if "trl" not in sides:
        return {}
    start = torch.load(Path(folder) / "start.pt")
    reference = torch.load(Path(folder) / "trl.pt")
    moved = float((reference - start).norm())
    return {side: float((torch.load(Path(folder) / f"{side}.pt") - reference).norm()) / moved for side in sides}


def print_table(measured: dict[str, list[dict[str, Any]]], rate: float, distances: dict[str, float]) -> None:
    """Print a line a side: medians, and ratios with their range over repetitions."""
    head = ("side", "pairs/s", "tokens/s", "useful", "peak MiB", "ours is faster by", "weights from TRL's")
    widths = (11, 9, 10, 8, 10, 22, 20)
    print("".join(f"{cell:>{width}}" for cell, width in zip(head, widths, strict=True)))
    for side, runs in measured.items():
        pairs = statistics.median(run["pairs"] / run["seconds"] for run in runs)
        tokens = statistics.median(run["tokens"] / run["seconds"] for run in runs)
        useful = statistics.median(run["flops"] / run["seconds"] for run in runs) / rate
        memory = max(run["peak_mib"] for run in runs)
        ratio = ""
        if "ours" in measured and side != "ours":
            ratios = [run["seconds"] / ours["seconds"] for run, ours in zip(runs, measured["ours"], strict=True)]
            ratio = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"
        distance = f"{distances[side]:.1e}" if side in distances else ""
        cells = (side, f"{pairs:.1f}", f"{tokens:,.0f}", f"{useful:.0%}", f"{memory:,.0f}", ratio, distance)
        print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)), flush=True)
    ours = measured.get("ours")
    if ours:
        setup = statistics.median(run["setup_seconds"] for run in ours)
        print(
            f"tokens/s and useful count distinct tokens; saving {ours[0]['saving']:.2f}x; set-up {setup:.1f} s (ours)"
        )


# One run


def worker(job: dict[str, Any]) -> int:
    """Train once to warm up and once for the measurement; print one line of JSON."""
    import torch
    import transformers
    from datasets import disable_progress_bars

    transformers.utils.logging.set_verbosity_error()
    disable_progress_bars()
    few = job["rows"][: 2 * job["batch_size"]]
    build_trainer(job, few).train()
    started = time.perf_counter()
    trainer = build_trainer(job, job["rows"])
    setup_seconds = time.perf_counter() - started
    start = flat_weights(trainer.model)
    torch.save(start, Path(job["folder"]) / "start.pt")
    before = peak_mib()
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    torch.save(flat_weights(trainer.model), job["weights"])
    # Only now, so that TRL's peak memory holds none of our package.
    from counted_work import count_work, sequences_by_prompt

    tokenizer = transformers.AutoTokenizer.from_pretrained(job["tokenizer"])
    counts = count_work(sequences_by_prompt(job["rows"], tokenizer), trainer.model)
    print(
        json.dumps(
            {"seconds": seconds, "setup_seconds": setup_seconds, "pairs": len(job["rows"]), "peak_mib": peak_mib(),
             "peak_before_mib": before, "steps": trainer.state.global_step, **counts}
        )
    )  # fmt: skip
    return 0


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def flat_weights(model: Any) -> Any:
    """Return all weights as one fp32 vector."""
    import torch

    return torch.cat([p.detach().float().flatten() for _, p in sorted(model.named_parameters())])


def build_trainer(job: dict[str, Any], rows: list[dict[str, str]]) -> Any:
    """Build the trainer of a side; both get the same model, rows and settings."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    from rewardsmith.models import fresh_model

    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    model = fresh_model.build_model(job["shape"], tokenizer, job["seed"])
    settings: dict[str, Any] = {
        "output_dir": job["folder"] + "/run",
        "per_device_train_batch_size": job["batch_size"],
        "num_train_epochs": 1,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "bf16": job["dtype"] == "bf16",
        "use_cpu": True,
        "max_length": None,
        "save_strategy": "no",
        "logging_steps": 10_000,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job["seed"],
    }
    side = job["side"].removesuffix(COMPILED)
    settings["torch_compile"] = side != job["side"]
    if side.startswith("ours"):
        from rewardsmith import RewardConfig, RewardTrainer

        if side == "ours":
            settings |= {"merge_prompts": True, "tokens_per_batch": job["tokens_per_batch"]}
        config = RewardConfig(**settings)
        return RewardTrainer(
            model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(rows)
        )
    return build_trl(job, model, tokenizer, settings, rows)


def build_trl(job: dict[str, Any], model: Any, tokenizer: Any, settings: dict[str, Any], rows: list[Any]) -> Any:
    """Build TRL's trainer; `trl-sorted` reads rows in an order that makes batches of like length."""
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import RewardConfig, RewardTrainer

    class OrderedTrainer(RewardTrainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    kind = RewardTrainer
    if job["side"].removesuffix(COMPILED) == "trl-sorted":
        kind, rows = OrderedTrainer, sort_into_batches(rows, tokenizer, job["batch_size"], job["seed"])
    dataset = Dataset.from_list(rows)
    return kind(model=model, args=RewardConfig(**settings), processing_class=tokenizer, train_dataset=dataset)


def sort_into_batches(rows: list[Any], tokenizer: Any, size: int, seed: int) -> list[Any]:
    """Sort rows by their longer side, cut them into batches, and shuffle the batches."""

    def length(row: dict[str, str]) -> int:
        return max(len(tokenizer(row["prompt"] + row[side])["input_ids"]) for side in ("chosen", "rejected"))

    ordered = sorted(rows, key=length)
    batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    whole, rest = [b for b in batches if len(b) == size], [b for b in batches if len(b) < size]
    random.Random(seed).shuffle(whole)
    return [row for batch in [*whole, *rest] for row in batch]


if __name__ == "__main__":
    sys.exit(main())
