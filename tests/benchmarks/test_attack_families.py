"""Hostile configs, shapes and settings of decoder families have the rewards and gradients of separate rows."""

import json
import subprocess
import sys

import pytest
import torch

from rewardsmith.models.shared_prefix.plan import prepare_model

# One of each kind: a window, chunks of states, sinks, attention of its own, a hybrid, positions that grow.
HARD = ("qwen2/window", "mamba2/chunks", "gpt_oss", "gptj", "jamba", "llama/dynamic")


@pytest.fixture
def attack(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import attack_families

    return attack_families


@pytest.mark.parametrize("case", ["qwen2/window", "falcon_h1/chunks"])
@pytest.mark.filterwarnings("ignore")
def test_shapes_that_bite_have_the_rewards_and_gradients_of_single_rows(case, attack, tmp_path):
    subject = attack.make_subject(case, str(tmp_path))
    plan = prepare_model(subject.model.train())
    groups = [groups[-1] for name, groups in attack.SHAPES.items() if "beyond" in name or "empty" in name]
    reward, gradient = attack.compare(subject, plan, groups, attack.Setting())
    assert reward < attack.FAR["reward"]
    assert gradient < attack.FAR["gradient"]


@pytest.mark.filterwarnings("ignore")
def test_a_difference_and_a_failure_are_told(attack):
    found = {"worst": [0.0, 0.0], "wrong": {}}
    attack.note(found, "near", lambda: (1e-7, 1e-6))
    attack.note(found, "far", lambda: (1e-2, 0.0))
    attack.note(found, "no number", lambda: (float("nan"), 0.0))
    attack.note(found, "fails", lambda: torch.zeros(2).view(3))
    assert list(found["wrong"]) == ["far", "no number", "fails"]


@pytest.mark.slow
@pytest.mark.parametrize("case", HARD)
def test_a_hard_case_meets_every_shape_in_training_and_in_parts(case, repository, tmp_path):
    out = tmp_path / "found.json"
    command = [sys.executable, str(repository / "benchmarks" / "attack_families.py"), case]
    command += ["--json", str(out), "--settings", "training", "parts"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (row,) = json.loads(out.read_text())
    assert row["way"] in ("packed", "forked")
    assert row["wrong"] == {}
