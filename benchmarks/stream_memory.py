"""Peak memory of a run over a stream larger than memory would be, killed with SIGKILL and resumed to the same bits.

    python benchmarks/stream_memory.py --gigabytes 2

Writes a JSONL file whose rows are short pairs with a long column that is not read, and trains a tiny decoder to its end
three times, each in a process of its own: undisturbed; killed in the middle; gone on from the last checkpoint. A fourth
run over a fiftieth of the file says what does not depend on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

COLUMN_BYTES = 20_000
STEPS = 24
CHECKPOINT_EVERY = 2
TOKENS_PER_BATCH = 2000
# Distinct tokens of a pair, so that the steps read the file to its end about once.
TOKENS_A_PAIR = 21


def write_rows(path: Path, num_bytes: int) -> int:
    """Write rows until the file has so many bytes; returns how many rows they are."""
    draw, written, rows = random.Random(0), 0, 0
    filler = "".join(draw.choices("abcdefghij klmnop", k=4 * COLUMN_BYTES))
    with path.open("w", encoding="utf-8") as file:
        while written < num_bytes:
            start = draw.randrange(3 * COLUMN_BYTES)
            row = {
                "prompt": f"What is {draw.randrange(1000)} plus {draw.randrange(1000)}?",
                "chosen": f"It is {rows}.",
                "rejected": "I do not know." if rows % 3 else "Perhaps.",
                "page": filler[start : start + COLUMN_BYTES],
            }
            written += file.write(json.dumps(row) + "\n")
            rows += 1
    return rows


def command(path: Path, folder: Path, rows: int) -> list[str]:
    """Return the command that trains on the rows of a file once."""
    batches = max(1, round(TOKENS_A_PAIR * rows / STEPS / TOKENS_PER_BATCH))
    flags = f"""--from_config tiny --tokenizer_vocab_size 320 --dataset_name {path} --streaming --max_steps {STEPS}
        --tokens_per_batch {TOKENS_PER_BATCH} --gradient_accumulation_steps {batches} --shuffle_buffer 1000
        --save_strategy steps --save_steps {CHECKPOINT_EVERY}
        --save_total_limit 2 --learning_rate 1e-3 --logging_steps 1 --report_to none --use_cpu
        --gradient_checkpointing false --verify_saved_model false --output_dir {folder}"""
    return [sys.executable, "-m", "rewardsmith", "train", *flags.split()]


def peak_bytes(pid: int) -> int:
    """Return the largest resident memory that a process has had so far."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM")), 0)


def run(words: Sequence[str], kill_when: Path | None = None) -> tuple[int, int, float]:
    """Run a command and return its exit status, peak memory and seconds; kill it once a path exists."""
    started, peak = time.perf_counter(), 0
    with TemporaryDirectory() as aside, (Path(aside) / "log").open("w+") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"})
        done = threading.Event()
        while process.poll() is None:
            peak = max(peak, peak_bytes(process.pid))
            if kill_when is not None and kill_when.exists():
                process.send_signal(signal.SIGKILL)
                process.wait()
            done.wait(0.2)
        if process.returncode not in (0, -signal.SIGKILL):
            log.seek(0)
            raise SystemExit(log.read()[-3000:])
    return process.returncode, peak, time.perf_counter() - started


def digest(folder: Path) -> str:
    """Return a digest of the weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> int:
    """Measure and print; returns 1 when the bits differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="where the file goes; by default a folder that is removed")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        rows = write_rows(folder / "rows.jsonl", int(arguments.gigabytes * 1e9))
        few = write_rows(folder / "few.jsonl", int(arguments.gigabytes * 2e7))
        size = (folder / "rows.jsonl").stat().st_size
        print(f"{size / 1e9:.2f} GB, {rows} rows; {STEPS} steps")
        small = run(command(folder / "few.jsonl", folder / "small", few))
        print(f"a fiftieth of it: peak {small[1] / 1e6:.0f} MB, {small[2]:.0f} s")
        whole = run(command(folder / "rows.jsonl", folder / "whole", rows))
        record = json.loads((folder / "whole" / "run.json").read_text())
        print(f"undisturbed: peak {whole[1] / 1e6:.0f} MB, {whole[2]:.0f} s; {record['data_notes'][-1]}")
        killed = run(command(folder / "rows.jsonl", folder / "killed", rows), folder / "killed" / "checkpoint-14")
        resume = [*command(folder / "rows.jsonl", folder / "killed", rows), "--resume_from_checkpoint", "true"]
        resumed = run(resume)
        print(f"killed (exit {killed[0]}) after step 14: peak {killed[1] / 1e6:.0f} MB, {killed[2]:.0f} s")
        print(f"resumed: peak {resumed[1] / 1e6:.0f} MB, {resumed[2]:.0f} s")
        same = digest(folder / "whole") == digest(folder / "killed")
        print(f"weights {'bit-identical' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
