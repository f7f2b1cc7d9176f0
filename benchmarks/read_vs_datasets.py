"""Reading time and peak memory of `rewardsmith.data` against `datasets`, on the same JSON Lines file.

Usage: python benchmarks/read_vs_datasets.py [--megabytes 50 200] [--repeats 3]

A file of synthetic pairs is written for each size. Every reading runs in a process of its own, so that peak memory
(the maximum resident size of that process) is its own, and the ways alternate. `datasets` is timed as it must be
used the first time (load_dataset with an empty cache, then one pass over the rows) and in its streaming form. Peak
memory of "import only" is what the imports of a way cost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

WAYS = {
    "rewardsmith rows": (
        "from rewardsmith.data import read_rows",
        "n = sum(1 for _ in read_rows(path))",
    ),
    "rewardsmith groups": (
        "from rewardsmith.data import iter_preferences",
        "n = sum(1 for _ in iter_preferences(path))",
    ),
    "datasets, first load": (
        "from datasets import load_dataset",
        "n = sum(1 for _ in load_dataset('json', data_files=path, split='train', cache_dir=cache))",
    ),
    "datasets, streaming": (
        "from datasets import load_dataset",
        "n = sum(1 for _ in load_dataset('json', data_files=path, split='train', streaming=True))",
    ),
}
MEASURE = """
import json, sys, time

def peak_megabytes():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

path, cache = sys.argv[1:3]
{imports}
before = peak_megabytes()
start = time.perf_counter()
{action}
seconds = time.perf_counter() - start
print(json.dumps([n, seconds, before, peak_megabytes()]))
"""


def write_pairs(path: Path, megabytes: float) -> int:
    """Write text pairs of about 2 KB each. Returns the number of rows."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(5000)]
    num_rows = 0
    with path.open("w") as lines:
        while lines.tell() < megabytes * 1e6:
            prompt, chosen, rejected = (" ".join(draw.choices(words, k=k)) for k in (40, 90, 90))
            row: dict[str, object] = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": draw.random()}
            lines.write(json.dumps(row) + "\n")
            num_rows += 1
    return num_rows


def measure(way: str, path: Path) -> tuple[int, float, float, float]:
    """Read the file once in a new process. Returns rows, seconds, MB after imports, peak MB."""
    imports, action = WAYS[way]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryDirectory() as cache:
        code = MEASURE.format(imports=imports, action=action)
        command = [sys.executable, "-c", code, str(path), cache]
        output = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **offline})
    num_rows, seconds, before, peak = json.loads(output.stdout.splitlines()[-1])
    return num_rows, seconds, before, peak


def main() -> None:
    """Print one table line for each size and way: median seconds with their range, MB/s and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[50, 200])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"python {sys.version.split()[0]}, datasets {version('datasets')}, {os.cpu_count()} cores")
    for megabytes in args.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.jsonl"
            num_rows = write_pairs(path, megabytes)
            size = path.stat().st_size / 1e6
            print(f"\n{size:.0f} MB, {num_rows} rows, {args.repeats} repetitions, alternating")
            results: dict[str, list[tuple[int, float, float, float]]] = {way: [] for way in WAYS}
            for _ in range(args.repeats):
                for way in WAYS:
                    results[way].append(measure(way, path))
            for way, runs in results.items():
                assert all(run[0] == num_rows for run in runs), f"{way} did not read every row"
                seconds = sorted(run[1] for run in runs)
                middle = statistics.median(seconds)
                print(
                    f"{way:<22} {middle:7.2f} s [{seconds[0]:.2f}, {seconds[-1]:.2f}]  {size / middle:6.0f} MB/s  "
                    f"peak {max(r[3] for r in runs):5.0f} MB (import only {max(r[2] for r in runs):.0f} MB)"
                )


if __name__ == "__main__":
    main()
