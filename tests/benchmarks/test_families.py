"""The table of families is made of what each tiny model does: rewards and gradients are those of separate rows."""

import json
import time

import forking
import pytest


def _works_without_end(name, folder):
    while True:
        pass


def _waits(name, folder):
    time.sleep(1.2)
    return {"way": "packed"}


@pytest.mark.slow
def test_a_family_has_seconds_of_processor_time_whatever_else_the_machine_does(repository, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from families import in_a_process

    assert in_a_process(_works_without_end, "llama", str(tmp_path), 1) == {"reason": "took over 1 s"}
    assert in_a_process(_waits, "llama", str(tmp_path), 1) == {"way": "packed"}


@pytest.mark.slow
def test_a_packed_a_forked_and_an_own_head_share_exactly_and_load_without_rewardsmith(repository, tmp_path):
    out = tmp_path / "families.json"
    names = ["qwen2", "nemotron", "lfm2", "mamba", "gpt_oss"]
    result = forking.run([repository / "benchmarks" / "families.py", *names, "--json", out])
    assert result.returncode == 0, result.stderr[-2000:]
    found = {row["name"]: row for row in json.loads(out.read_text())}
    assert [found[name]["way"] for name in names] == ["packed", "forked", "forked", "forked", "packed"]
    assert [found[name]["own_head"] for name in names] == [False, False, True, True, False]
    for row in found.values():
        assert max(row["reward"], row["gradient"], row["saved"], row["plain"]) < 1e-4, row


def test_nearly_all_families_of_the_page_share_exactly_and_the_others_have_a_reason(repository):
    page = (repository / "docs" / "compatibility.md").read_text().split("<!-- families -->")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.count("|") == 9]
    families = [row for row in rows if row[2] in ("packed", "forked", "rows")]
    shared = [row for row in families if row[2] != "rows" and max(float(row[3]), float(row[4])) < 1e-4]
    assert len(families) > 140
    assert len(shared) >= 0.95 * len(families)
    assert all(row[7] for row in families if row not in shared)
