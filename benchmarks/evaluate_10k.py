"""Measure `rewardsmith evaluate` on 10,000 pairs from a file of scores with 10,000 bootstrap resamples.

Prints wall seconds, CPU seconds and peak memory of a fresh process that loads data and scores, evaluates and prints the
table, and those of a process that only imports. On a busy machine the CPU seconds are the ones to compare.

Run: python benchmarks/evaluate_10k.py [pairs] [resamples]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = "import sys; from rewardsmith.cli.main import main; "
USAGE = (
    "import resource; u = resource.getrusage(resource.RUSAGE_SELF); "
    "print('usage', u.ru_utime + u.ru_stime, u.ru_maxrss // 1024, file=sys.stderr)"
)


def measured(code: str, *arguments: str) -> str:
    """Return wall seconds, CPU seconds and peak MiB of a fresh process, as text."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    cpu, peak = done.stderr.split("usage")[-1].split()
    return f"{wall:.2f} s wall, {float(cpu):.2f} s CPU, {peak} MiB"


def write_inputs(folder: Path, pairs: int) -> tuple[Path, Path]:
    """Write simulated pairs, three of which share a prompt, and their scores."""
    generator = random.Random(0)
    data, scores = folder / "data.jsonl", folder / "scores.jsonl"
    with data.open("w") as rows, scores.open("w") as values:
        for i in range(pairs):
            row = {"prompt": f"Question {i // 3}?", "chosen": f"Answer {i} " * generator.randint(5, 200)}
            row["rejected"] = f"Other {i} " * generator.randint(5, 200)
            rows.write(json.dumps(row) + "\n")
            values.write(json.dumps({"chosen": generator.gauss(0.7, 1), "rejected": generator.gauss(0, 1)}) + "\n")
    return data, scores


def measure_all(pairs: int, resamples: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        data, scores = write_inputs(Path(name), pairs)
        print(f"import only: {measured(MAIN + 'import rewardsmith.evaluation; ' + USAGE)}")
        for count in (resamples // 10, resamples):
            arguments = ("evaluate", "--scores", str(scores), str(data), "--resamples", str(count))
            print(f"{pairs} pairs, {count} resamples: {measured(MAIN + 'main(sys.argv[1:]); ' + USAGE, *arguments)}")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    measure_all(*(given + [10_000, 10_000][len(given) :]))
