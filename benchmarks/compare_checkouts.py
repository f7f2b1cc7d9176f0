"""Run the same fixed inputs through two checkouts and list every number that differs.

Each checkout trains a small model, scores a file, evaluates, audits and answers HTTP requests. Weights are compared
byte for byte, results field by field; versions, times, paths and speeds are left out. Scoring, evaluation, audit and
serving use the model that the first checkout trained, so that each is compared alone.

    git worktree add ../before REVISION
    python benchmarks/compare_checkouts.py ../before .

It ends with 1 when anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What may differ between two runs of one checkout, or says which checkout ran.
LEFT_OUT = re.compile(
    r"(^|\.)(versions?|rewardsmith_version|.*(seconds|time|date|created|speed|per_second|memory|path|folder|commit|command|id))($|\.|\[)"
)
# Rounding: a library that sums in another order changes the last digits. Weights and rewards are compared exactly.
TOLERANCE = 1e-12
EXACT = ("train", "measure.score", "serve")
WORDS = [
    "amber",
    "brook",
    "cedar",
    "delta",
    "ember",
    "field",
    "grove",
    "harbour",
    "inlet",
    "juniper",
    "kettle",
    "lantern",
    "meadow",
    "north",
    "orchard",
]


def write_inputs(folder: Path) -> None:
    """Write pairs, rankings and judgements with ties, margins, weights and annotators, from one seed."""
    draw = random.Random(7)

    def answer(quality: int) -> str:
        words = [draw.choice(WORDS) for _ in range(draw.randint(3, 9))]
        return " ".join(["good" if index < quality else "plain" for index in range(2)] + words)

    pairs, rankings, ties = [], [], []
    for number in range(150):
        prompt = f"Say something about {draw.choice(WORDS)} and {draw.choice(WORDS)}, number {number}. "
        pairs.append({"prompt": prompt, "chosen": answer(2), "rejected": answer(0)})
        rankings.append({"prompt": prompt, "completions": [answer(q) for q in (2, 1, 0)], "ranks": [1, 2, 3]})
        row: dict[str, Any] = {
            "prompt": prompt,
            "chosen": answer(2),
            "rejected": answer(1),
            "annotator": f"a{number % 3}",
        }
        if number % 5 == 0:
            row["tie"] = True
        ties.append(row)
    for name, rows in {"pairs": pairs, "rankings": rankings, "ties": ties}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:120]))
        (folder / f"{name}-held-out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[120:]))
    asked = [{"prompt": row["prompt"], "completions": [row["chosen"], row["rejected"]]} for row in pairs[:40]]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))


class Checkout:
    """One checkout with a folder of its own for what it writes."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source.resolve() / "src", folder
        folder.mkdir(parents=True)
        self.environment = {**os.environ, "PYTHONPATH": str(self.source), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def command(self, *words: Any) -> list[str]:
        return [sys.executable, "-m", "rewardsmith", *map(str, words)]

    def run(self, *words: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of this checkout; its errors end the comparison."""
        done = subprocess.run(
            self.command(*words), env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(
                f"{self.source}: rewardsmith {' '.join(map(str, words))} ended with {done.returncode}:\n"
                f"{done.stderr[-2000:]}"
            )
        return done

    def train(self, inputs: Path) -> dict[str, Any]:
        """Train on each kind of rows. Returns a hash of the weights and the held-out numbers of every run."""
        results = {}
        for name, flags in {
            "pairs": (),
            "rankings": ("--loss_type", "k_wise"),
            "ties": ("--loss_type", "rao_kupper"),
        }.items():
            out = self.folder / f"model-{name}"
            source = inputs / f"{name}.jsonl"
            # Held-out rows of their own: how rows are split is not what is compared.
            held_out = ("--eval_dataset_name", inputs / f"{name}-held-out.jsonl")
            fixed = ("--from_config", "tiny", "--max_steps", 8, "--tokenizer_vocab_size", 300, "--use_cpu", "true")
            self.run("train", "from_scratch", "--dataset_name", source, *fixed, "--output_dir", out, *held_out, *flags)
            run = json.loads((out / "run.json").read_text())
            weights = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
            results[name] = {"weights": weights, "held_out": run.get("held_out")}
        return results

    def measure(self, inputs: Path, model: Path) -> dict[str, Any]:
        """Score, evaluate and audit `model`."""
        out, pairs, rankings = self.folder, inputs / "pairs.jsonl", inputs / "rankings.jsonl"
        self.run("score", model, inputs / "asked.jsonl", out / "scored.jsonl")
        results = {"score": [json.loads(line) for line in (out / "scored.jsonl").read_text().splitlines()]}
        for name, data in {
            "evaluate": pairs,
            "evaluate_rankings": rankings,
            "evaluate_ties": inputs / "ties.jsonl",
        }.items():
            self.run("evaluate", model, data, "--resamples", 500, "--json", out / f"{name}.json")
            results[name] = json.loads((out / f"{name}.json").read_text())
        self.run("audit", model, rankings, "--resamples", 200, "--json", out / "audit.json")
        results["audit"] = json.loads((out / "audit.json").read_text())
        return results

    def serve(self, inputs: Path, model: Path) -> dict[str, Any]:
        """Return what a server of this checkout answers to one request of each protocol."""
        row = json.loads((inputs / "asked.jsonl").read_text().splitlines()[0])
        texts = [row["prompt"] + completion for completion in row["completions"]]
        bodies = {
            "/v1/reward": row,
            "/classify": {"input": texts},
            "/pooling": {"input": texts},
            "/get_reward": {"query": texts},
            "/v1/embeddings": {"input": texts},
            "/score": {"text_1": row["prompt"], "text_2": row["completions"]},
            "/rerank": {"query": row["prompt"], "documents": row["completions"]},
            "/predict": {"inputs": texts},
            "/v1/score/evaluation": {"model": "any", "messages": texts},
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = self.folder / "serve.log"
        with log.open("w") as output:
            command = self.command("serve", model, "--port", port)
            server = subprocess.Popen(command, env=self.environment, cwd=self.folder, stderr=output, stdout=output)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", log)
            return {path: _post(f"http://127.0.0.1:{port}{path}", body) for path, body in bodies.items()}
        finally:
            server.terminate()
            server.wait()


def _wait_for(url: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"no server: {log.read_text()[-2000:]}")


def _post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Yield a line for every value that differs, with its place."""
    if LEFT_OUT.search(place):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            where = f"{place}.{key}" if place else str(key)
            if key not in before or key not in after:
                if not LEFT_OUT.search(where):
                    side = "after" if key in after else "before"
                    yield f"{where}: only {side}: {str(after.get(key, before.get(key)))[:80]}"
            else:
                yield from differences(before[key], after[key], where)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{place}[{index}]")
    elif isinstance(before, float) and isinstance(after, float):
        allowed = 0.0 if place.startswith(EXACT) else TOLERANCE * max(1.0, abs(before))
        if not (math.isnan(before) and math.isnan(after)) and abs(before - after) > allowed:
            yield f"{place}: {before!r} -> {after!r}"
    elif before != after:
        yield f"{place}: {str(before)[:100]!r} -> {str(after)[:100]!r}"


def main() -> int:
    """Compare two checkouts and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="folder of a checkout")
    parser.add_argument("after", type=Path, help="folder of another checkout")
    parser.add_argument("--skip", nargs="*", default=[], choices=("train", "measure", "serve"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        write_inputs(inputs)
        sides = [Checkout(args.before, Path(name) / "before"), Checkout(args.after, Path(name) / "after")]
        trained = [side.train(inputs) for side in (sides if "train" not in args.skip else sides[:1])]
        model = sides[0].folder / "model-pairs"
        found = list(differences(*trained, "train")) if len(trained) == 2 else []
        for what in ("measure", "serve"):
            if what not in args.skip:
                found += differences(*(getattr(side, what)(inputs, model) for side in sides), what)
    print(*found, f"{len(found)} values differ", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
