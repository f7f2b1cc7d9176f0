"""A disk without room and a model without sense: said in one line, and nothing that was done is lost."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import letter_scorer
import pytest
from letter_scorer import Letters

from rewardsmith.errors import CheckpointError
from rewardsmith.scoring.bulk.job import BulkJob, score_file

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from letter_scorer import Letters
from rewardsmith.errors import RewardsmithError
from rewardsmith.scoring.bulk.job import BulkJob, score_file

try:
    report = score_file(Letters(), BulkJob(Path(sys.argv[1]), Path(sys.argv[2]), rows_per_part=5), {"model": "m"})
    print("scored", report.scored, "reused", report.reused)
except RewardsmithError as error:
    print(type(error).__name__, error)
"""
NAMES = ["out.jsonl", "out.jsonl.gz", "out.csv", "out.parquet"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    import random

    rng = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "in.jsonl"
    notes = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2000)) for _ in range(400)]
    rows = [{"id": i, "prompt": f"q{i % 9}", "completion": f"a {i}", "note": note} for i, note in enumerate(notes)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def whole(source, folder, name):
    job = BulkJob(source, folder / name, rows_per_part=5)
    score_file(Letters(), job, {"model": "m"})
    return job.out.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_output_that_may_not_grow_any_more_is_finished_later(source, tmp_path, name):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    job = BulkJob(source, tmp_path / "run" / name, rows_per_part=5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"no room left.*80 finished parts are kept.*run the same command"):
            score_file(Letters(), job, {"model": "m"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not job.out.exists()
    assert not list(tmp_path.rglob(".*"))
    report = score_file(Letters(), job, {"model": "m"})
    assert (report.reused, report.scored) == (400, 400)
    assert job.out.read_bytes() == whole(source, tmp_path / "whole", name)


def small_disk(folder, commands):
    """Run shell commands while `folder` is a file system of 96 KiB, in a name space of their own."""
    shell = f"mount -t tmpfs -o size=96k none {folder} && {commands}"
    flags = ["--mount"] if shutil.os.geteuid() == 0 else ["--mount", "--map-root-user"]
    return subprocess.run(["unshare", *flags, "sh", "-ec", shell], capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(source, tmp_path):
    name = "out.parquet"
    disk, out, script = tmp_path / "disk", tmp_path / "out", tmp_path / "script.py"
    disk.mkdir()
    script.write_text(SCRIPT)
    if shutil.which("unshare") is None or small_disk(disk, "true").returncode:
        pytest.skip("no small file system can be mounted here")
    run = f"{sys.executable} {script} {source} {disk}/{name} {Path(letter_scorer.__file__).parent}"
    more = f"mount -o remount,size=SIZE {disk}"
    steps = [run, more.replace("SIZE", "700k"), run, f"test ! -e {disk}/{name}", more.replace("SIZE", "16m"), run]
    done = small_disk(disk, " && ".join([*steps, f"cp {disk}/{name} {out}"]))
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    kept = [int(line.split(" finished parts")[0].rsplit(" ", 1)[1]) for line in (first, second)]
    assert first.startswith("CheckpointError")
    assert second.startswith("CheckpointError")
    assert 0 < kept[0] < kept[1] == 80
    assert third == "scored 400 reused 400"
    assert out.read_bytes() == whole(source, tmp_path / "whole", name)
