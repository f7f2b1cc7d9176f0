"""How fast "save and next" is under concurrent annotators, and how many judgements a second each database takes.

    python benchmarks/collect_load.py                       # SQLite, then a temporary PostgreSQL, under four minutes
    python benchmarks/collect_load.py sqlite                # only SQLite
    python benchmarks/collect_load.py postgresql://...      # a PostgreSQL of your own

One line for each `--think`: annotators think so many seconds on average, from 0 to twice that. A person who reads two
answers needs 5 or more; 1 is a crowd in a hurry; 0 asks without a pause, which measures throughput. "Save and next" is
the form that is sent, the redirect and the next page. The server is a process of its own, as with
`rewardsmith collect serve`.
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
ITEMS = 6000
# Everybody comes at once and the server is cold: the first seconds are left out.
WARM_SECONDS = 3


def main() -> None:
    """Measure and print a line for each database and thinking time."""
    import collecting_postgres as postgres  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", nargs="?", help="sqlite or a postgresql:// URL (default: both)")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--think", type=float, nargs="+", default=[5.0, 1.0, 0.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    if args.database in (None, "sqlite"):
        run("SQLite", None, args)
    if args.database not in (None, "sqlite"):
        run("PostgreSQL", args.database, args)
    elif args.database is None and postgres.binaries() is None:
        print("PostgreSQL: not installed here (apt-get install postgresql)")
    elif args.database is None:
        cluster = postgres.Cluster()
        try:
            run("PostgreSQL", cluster.url("load"), args)
        finally:
            cluster.stop()


def run(name: str, database: str | None, args: argparse.Namespace) -> None:
    """Measure one database; what was acknowledged must be there afterwards."""
    import collecting.test_kill as kill  # type: ignore[import-not-found]

    kill.ANNOTATORS = args.annotators
    with tempfile.TemporaryDirectory() as folder:
        path, collection, signed = kill.prepare(Path(folder), database, ITEMS)
        port = kill.free_port()
        process, everybody = kill.start(path, port), []
        try:
            for think in args.think:
                stop = threading.Event()
                people = [kill.Annotator(f"http://127.0.0.1:{port}", cookie, stop, think) for cookie in signed]
                everybody += people
                print(f"{name}, {measure(people, think, args.seconds)}", flush=True)
                stop.set()
                for one in people:
                    one.join(2 * think + 20)
        finally:
            process.kill()
            process.join()
        kill.check(collection, everybody)
        collection.close()


def measure(people: list, think: float, seconds: float) -> str:
    """Let people work; returns the line to print."""
    for one in people:
        one.start()
        time.sleep(think / len(people))
    time.sleep(WARM_SECONDS)
    started = time.perf_counter()
    time.sleep(seconds)
    ended = time.perf_counter()
    took = [second for one in people for moment, second in one.seconds if started <= moment <= ended]
    if not took:
        return f"{len(people)} annotators, think {think:g} s: nothing was saved in {seconds:g} s"
    p50, p95, p99 = np.quantile(took, [0.5, 0.95, 0.99]) * 1000
    rate = len(took) / (ended - started)
    return (
        f"{len(people)} annotators, think {think:g} s: {rate:.1f} judgements/s, "
        f"save and next p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"
    )


if __name__ == "__main__":
    main()
