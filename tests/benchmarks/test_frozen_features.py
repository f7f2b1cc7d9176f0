"""The benchmark of a frozen backbone finds the head that judged, over features that are drawn."""

import re

import forking
import pytest


@pytest.mark.slow
def test_a_head_over_drawn_features_is_the_one_that_judged(repository):
    command = [repository / "benchmarks" / "frozen_features.py", "--synthetic", 6000, "--width", 8]
    result = forking.run(command)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "6,000 comparisons, 12,000 sequences of width 8" in result.stdout
    assert float(re.search(r"fitted head ([\d.]+)", result.stdout).group(1)) > 0.99
