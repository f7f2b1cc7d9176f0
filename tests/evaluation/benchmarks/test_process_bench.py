import json

import pytest

from rewardsmith.evaluation.benchmarks import (
    run_benchmark,
)
from rewardsmith.stats.intervals import Resampling

HOW = Resampling(200)


class StepScorer:
    """Gives the number at the end of each step as the probability that it is right."""

    name = "steps"

    def score_parts(self, requests, **options):
        return [
            [Parts([float(step.split()[-1]) for step in text.split("\n\n")]) for text in r.completions]
            for r in requests
        ]

    def score_requests(self, requests):
        return [[min(part.steps) for part in row] for row in self.score_parts(requests)]


class Parts:
    def __init__(self, steps):
        self.steps = steps


def test_a_scorer_of_steps_is_asked_once_for_each_solution(tmp_path):
    rows = [
        {"id": "math-0", "problem": "p", "steps": ["a\n\nb 0.9", "c 0.4", "d 0.9"], "label": 1},
        {"id": "math-1", "problem": "q", "steps": ["a 0.6"], "label": -1},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    result = run_benchmark("process-bench", StepScorer(), tmp_path / "rows.json", how=HOW)
    assert result.score.value == 1.0
    assert result.scored[0].rewards == pytest.approx((0.4, -0.1, 0.4))


def test_process_bench_is_the_harmonic_mean(run):
    def row(label, *rewards):
        return {"problem": str((label, rewards)), "steps": [f"s {r}" for r in rewards], "label": label}

    result = run("process-bench", [row(1, 1, -1), row(0, 1, -1), row(-1, 1, 1)])
    assert result.score.value == pytest.approx(2 * 0.5 * 1 / 1.5)
