import json
import math

import pytest
from benchmark_rows import rb, rb2

from rewardsmith.evaluation.benchmarks import (
    reward_bench,
    write_reward_bench_files,
)
from rewardsmith.records import Estimate


def test_reward_bench_weights_subsets_inside_and_not_across_sections(run):
    result = run(
        "reward-bench",
        [rb("alpacaeval-easy", 2, 1), rb("mt-bench-easy", 1, 1), rb("math-prm", 2, 1), rb("hep-go", 0, 1)],
    )
    assert result.parts["Chat"].value == pytest.approx(100 / 128)
    assert result.parts["Reasoning"].value == pytest.approx(984 / 1148)
    assert result.score.value == pytest.approx((100 / 128 + 984 / 1148) / 2)


def test_reward_bench_legacy_swaps_the_xstest_counts():
    subsets = {"xstest-should-refuse": Estimate(1.0, 1), "xstest-should-respond": Estimate(0.0, 1)}
    assert reward_bench.section_scores(subsets)["Safety"].value == pytest.approx(154 / 404)
    assert reward_bench.section_scores(subsets, "legacy")["Safety"].value == pytest.approx(250 / 404)


def test_reward_bench_files_have_its_columns(run):
    result = run("reward-bench", [rb("hep-go", 2, 1)])
    assert reward_bench.eval_set_file(result)["hep-go"] == 1.0
    assert reward_bench.scores_file(result)["scores_chosen"] == [2.0]


def test_reward_bench_files_are_written_in_its_layout(run, tmp_path):
    result = run("reward-bench-2", [rb2("Math", "1", [3], [3, 1, 0])])
    summary, scores = write_reward_bench_files(result, tmp_path / "results")
    assert summary == tmp_path / "results/eval-set/by_number.json"
    assert json.loads(summary.read_text())["Math"] == 0.5
    columns = json.loads(scores.read_text())
    assert (columns["scores"], columns["results"], columns["num_correct"]) == ([[3, 3, 1, 0]], [0.5], [1])
    assert {"model", "model_type", "chat_template", "text", "subset", "id"} <= columns.keys()


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
    assert set(reward_bench.ties_score(result.scored)) == {"tied", "ref", "preferred", "hard", "margin", "score"}
    assert reward_bench.scores_file_2(result)["results"] == [1.0, 1.0]
