"""What bf16 costs where experts are chosen is measured on the way that is taken."""

import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_shared_prefixes_in_bf16_are_as_near_to_fp32_as_rows_are(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import bf16_experts

    bf16_experts.main(["mixtral"])
    assert "| mixtral | packed | " in capsys.readouterr().out
    way, (rows, shared, _) = bf16_experts.compare("qwen3_moe")
    assert way == "packed"
    assert 0 < shared.median() < 2 * rows.median() + 0.01
    sys.modules.pop("bf16_experts")
