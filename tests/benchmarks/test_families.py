"""The table of families is made of what each tiny model does: rewards and gradients are those of separate rows."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_packed_a_forked_and_an_own_head_share_exactly_and_load_without_rewardsmith(repository, tmp_path):
    out = tmp_path / "families.json"
    names = ["qwen2", "nemotron", "lfm2", "mamba"]
    command = [sys.executable, str(repository / "benchmarks" / "families.py"), *names, "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    found = {row["name"]: row for row in json.loads(out.read_text())}
    assert [found[name]["way"] for name in names[:3]] == ["packed", "forked", "forked"]
    assert [found[name]["own_head"] for name in names] == [False, False, True, True]
    for row in found.values():
        assert max(row["reward"], row["gradient"], row["saved"], row["plain"]) < 1e-4, row
