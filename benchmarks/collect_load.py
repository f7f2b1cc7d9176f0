"""How fast "save and next" is under concurrent annotators, and how many judgements a second each database takes.

    python benchmarks/collect_load.py                       # SQLite
    python benchmarks/collect_load.py postgresql://...       # PostgreSQL

Each annotator thinks for `--think` seconds on average; 0 asks without a pause, which measures throughput. The server is
a process of its own, as `rewardsmith collect serve`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path += [
    str(Path(__file__).resolve().parents[1] / "tests"),
    str(Path(__file__).resolve().parents[1] / "tests/collecting"),
]


def main() -> None:
    """Measure and print one line."""
    import collecting.test_kill as kill  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", nargs="?")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--think", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    kill.ANNOTATORS = args.annotators
    with tempfile.TemporaryDirectory() as folder:
        path, collection, signed = kill.prepare(Path(folder), args.database, 6000)
        port, stop = kill.free_port(), threading.Event()
        process = kill.start(path, port)
        people = [kill.Annotator(f"http://127.0.0.1:{port}", cookie, stop, args.think) for cookie in signed]
        for one in people:
            one.start()
        time.sleep(3)
        counts = sum(len(one.seconds) for one in people)
        started = time.perf_counter()
        time.sleep(args.seconds)
        elapsed = time.perf_counter() - started
        seconds = [second for one in people for second in one.seconds]
        rate = (len(seconds) - counts) / elapsed
        stop.set()
        for one in people:
            one.join(20)
        process.kill()
        process.wait()
        kill.check(collection, people)
        collection.close()
    p50, p95, p99 = np.quantile(seconds[counts:] or seconds, [0.5, 0.95, 0.99]) * 1000
    kind = "PostgreSQL" if args.database else "SQLite"
    print(
        f"{kind}, {args.annotators} annotators, think {args.think:g} s: {rate:.1f} judgements/s, "
        f"save and next p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"
    )


if __name__ == "__main__":
    main()
