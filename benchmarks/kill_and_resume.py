"""Kill `rewardsmith score` and `rewardsmith train` with signal 9 at random moments, and resume until they end.

    python benchmarks/kill_and_resume.py --kills 100 [score] [train epochs] [train steps] [train over]

What comes of each job is compared, byte by byte, with a run that nobody killed. `score` has two writers on one output,
of which one is refused; `train over` replaces the folder of an older run, which must hold either run's model whole.
Jobs are forked from one process that has loaded everything, so that a life costs its work only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving_common import SHAPES, build_model

WORDS = [f"w{number}" for number in range(40)]
SHAPES["smallest"] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CLEAN_SECONDS = 120.0
KINDS = ("score", "train epochs", "train steps", "train over")


@dataclass(frozen=True, slots=True)
class Job:
    """A command that is killed and started again.

    Args:
        command: gives its arguments, which depend on what an earlier life has left.
        seconds: how long it takes when nobody kills it.
        outcome: what it leaves, as something to compare; None while it has left nothing.
        reset: bring its output back to where a run begins.
    """

    command: Callable[[], Sequence[str]]
    outcome: Callable[[], object]
    reset: Callable[[], None]
    writers: int = 1


def started(command: Sequence[str], log: Path) -> int:
    """Fork a process that runs a command with its output in a file; return its id."""
    if child := os.fork():
        return child
    code = 70
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            from rewardsmith.cli.main import main as run

            code = run(command)
    finally:
        os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """Wait for a process at most so long; return its exit code, None while it runs."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def whole_run(job: Job, log: Path) -> tuple[object, float]:
    """Run a job that nobody kills; return what it left and its seconds. Raises SystemExit when it fails."""
    began = time.monotonic()
    child = started(job.command(), log)
    if (code := ended(child, CLEAN_SECONDS)) != 0:
        raise SystemExit(f"{' '.join(job.command())} ended with {code}: {log.read_text()[-2000:]}")
    return job.outcome(), time.monotonic() - began


def storm(job: Job, kills: int, folder: Path, allowed: Sequence[object] = ()) -> dict[str, int]:
    """Kill a job so often; return how often it was killed, ended and resumed. Raises SystemExit for a wrong outcome."""
    rng, log = random.Random(kills), folder / "log.txt"
    job.reset()
    expected, seconds = whole_run(job, log)
    job.reset()
    counted = {"killed": 0, "ended": 0, "refused": 0, "lives of this run": 0, "most lives": 0}
    while counted["killed"] < kills:
        logs = [folder / f"log-{number}.txt" for number in range(job.writers)]
        children = [started(job.command(), path) for path in logs]
        time.sleep(rng.uniform(0.0, seconds))
        codes = []
        for child in children:
            code = ended(child, 0.0)
            if code is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                counted["killed"] += 1
            codes.append(code)
        for code, path in zip(codes, logs, strict=True):
            lines = path.read_text()
            if code not in (None, 0):
                counted["refused"] += 1
                if job.writers == 1 or "Traceback" in lines or ": error: " not in lines:
                    raise SystemExit(f"a life ended with {code}: {lines[-2000:]}")
        counted["lives of this run"] += 1
        counted["most lives"] = max(counted["most lives"], counted["lives of this run"])
        left = job.outcome()
        if left is not None and left != expected and left not in allowed:
            raise SystemExit(f"after {counted['killed']} kills the output is neither run's: {left}")
        if 0 in codes or counted["killed"] >= kills:
            if 0 not in codes:
                left, _ = whole_run(job, log)
            if left != expected:
                raise SystemExit(
                    f"after {counted['killed']} kills the output is another: {left} in place of {expected}"
                )
            counted["ended"] += 1
            counted["lives of this run"] = 0
            job.reset()
    del counted["lives of this run"]
    return counted


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def scoring_job(folder: Path, model: str) -> Job:
    """Return a `score` job of 400 rows with two writers."""
    rows = [{"id": i, "prompt": f"{WORDS[i % 40]} ", "completion": f"{WORDS[i % 7]} {i}"} for i in range(400)]
    source, out = folder / "in.jsonl", folder / "scored" / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["score", model, str(source), str(out), "--rows-per-part", "20"]

    def reset() -> None:
        shutil.rmtree(out.parent, ignore_errors=True)

    return Job(lambda: [*command, "--device", "cpu"], lambda: digest(out), reset, writers=2)


def training_job(folder: Path, model: str, flags: Sequence[str], older: Path | None = None) -> Job:
    """Return a `train` job; `older` is the folder of an older run that it replaces."""
    out = folder / "trained"
    data = pairs_file(folder / "pairs.jsonl", 48, 0)
    command = ["train", "--model_name_or_path", model, "--dataset_name", str(data), "--output_dir", str(out), *flags]
    command += ["--use_cpu", "--report_to", "none", "--disable_tqdm", "--per_device_train_batch_size", "4"]
    command += ["--save_steps", "3", "--save_total_limit", "2", "--no_verify_saved_model", "--learning_rate", "1e-3"]
    command += ["--eval_strategy", "no"]

    def resuming() -> list[str]:
        has_checkpoint = any(out.glob("checkpoint-*")) and not older
        return [*command, *(["--resume_from_checkpoint", "true"] if has_checkpoint else ["--overwrite_output_dir"])]

    def outcome() -> object:
        weights = digest(out / "model.safetensors")
        contract = out / "scoring_contract.json"
        rewards = json.loads(contract.read_text())["golden"] if contract.is_file() else None
        return None if weights is None and rewards is None else (weights, json.dumps(rewards))

    def reset() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if older:
            shutil.copytree(older, out)

    return Job(resuming, outcome, reset)


def pairs_file(path: Path, count: int, seed: int) -> Path:
    """Write random pairs."""
    rng = random.Random(seed)
    texts = [[" ".join(rng.choices(WORDS, k=rng.randint(2, 9))) for _ in range(3)] for _ in range(count)]
    rows = [{"prompt": p + " ", "chosen": a, "rejected": b} for p, a, b in texts if a != b]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(kind: str, kills: int, folder: Path) -> dict[str, int]:
    """Kill one kind of job so often."""
    model = build_model(folder / "base", "smallest", [" ".join(WORDS)])
    if kind == "score":
        return storm(scoring_job(folder, model), kills, folder)
    if kind == "train epochs":
        return storm(training_job(folder, model, ["--num_train_epochs", "2"]), kills, folder)
    if kind == "train steps":
        return storm(training_job(folder, model, ["--max_steps", "20"]), kills, folder)
    older = training_job(folder, model, ["--max_steps", "4", "--seed", "7"])
    before, _ = whole_run(older, folder / "log.txt")
    shutil.move(folder / "trained", folder / "older")
    return storm(training_job(folder, model, ["--max_steps", "4"], folder / "older"), kills, folder, [before])


def main() -> int:
    """Kill every kind that was asked for; 1 when an outcome was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help=f"of {', '.join(KINDS)}; all without any")
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    import torch

    # A process that is forked has none of the threads of this one.
    torch.set_num_threads(1)
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    with contextlib.suppress(ImportError):
        import rewardsmith.scoring.bulk.job
        import rewardsmith.training.run  # noqa: F401
    for kind in arguments.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{kind}: {run(kind, arguments.kills, Path(folder))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
