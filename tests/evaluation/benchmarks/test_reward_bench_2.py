import math

import pytest
from benchmark_rows import rb2

from rewardsmith.evaluation.benchmarks import (
    reward_bench_2,
)


def test_reward_bench_2_shares_credit_and_averages_domains(run):
    result = run(
        "reward-bench-2",
        [rb2("Math", "1", [3], [3, 1, 0]), rb2("Math", "2", [3], [4, 1, 0]), rb2("Focus", "3", [9], [1, 1, 1])],
    )
    assert result.parts["Math"].value == pytest.approx(0.25)
    assert result.score.value == pytest.approx((0.25 + 1) / 2)


def test_reward_bench_2_ties_by_hand(run):
    # tied: correct 5, 4 against 2: G = 2 > D = 1; ref: 3 against 2.5: G = 0.5, so the hard form fails.
    result = run("reward-bench-2", [rb2("Ties", "ref:1", [3], [2.5]), rb2("Ties", "tied:1", [5, 4], [2])])
    assert result.score.value == pytest.approx(0.3 + 0.3 + 0.2 + 0 + 0.01 * math.tanh(0.5 / 1 - 1))
    assert set(reward_bench_2.ties_score(result.scored)) == {"tied", "ref", "preferred", "hard", "margin", "score"}
    assert reward_bench_2.scores_file(result)["results"] == [1.0, 1.0]
