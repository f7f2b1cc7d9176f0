"""Measure `rewardsmith evaluate` on 10,000 pairs from a file of scores with 10,000 bootstrap resamples.

Prints wall seconds and peak memory of a fresh process that loads data and scores, evaluates and prints the table, and
the peak of a process that only imports. Run: python benchmarks/evaluate_10k.py [pairs] [resamples]
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
PEAK = "import resource; print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"


def measured(code: str, *arguments: str) -> tuple[float, int]:
    """Give wall seconds and peak MiB of a fresh process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stderr.split("peak")[-1])


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
        base = measured(MAIN + "import rewardsmith.evaluation; " + PEAK)
        print(f"import only: {base[0]:.2f} s, {base[1]} MiB")
        for count in (resamples // 10, resamples):
            arguments = ("evaluate", "--scores", str(scores), str(data), "--resamples", str(count))
            seconds, peak = measured(MAIN + "main(sys.argv[1:]); " + PEAK, *arguments)
            print(f"{pairs} pairs, {count} resamples: {seconds:.2f} s, {peak} MiB")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    measure_all(*(given + [10_000, 10_000][len(given) :]))
