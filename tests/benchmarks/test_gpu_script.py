"""The GPU benchmark runs, on a CPU and a tiny shape, so that it works the day a GPU is at hand."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_gpu_script_prints_its_table(repository):
    command = [sys.executable, str(repository / "benchmarks" / "gpu.py"), "--device", "cpu", "--tiny", "--repeats", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [line for line in result.stdout.splitlines() if line.startswith("| tiny")]
    assert len(rows) == 3
    assert "exactness, tiny" in result.stdout
