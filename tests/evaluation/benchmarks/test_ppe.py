import itertools

import numpy as np
import pytest

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks import (
    ppe,
)


def test_ppe_human_leaves_ties_out(run):
    rows = [
        {"prompt": w, "response_1": "a 1", "response_2": "b 0", "winner": w, "language": "en"}
        for w in ("model_a", "model_b", "tie")
    ]
    assert (run("ppe-human", rows).score.value, run("ppe-human", rows).score.n) == (0.5, 2)


def test_ppe_human_gives_categories_and_the_ranking_of_the_models(run):
    def vote(first, second, winner, margin, **flags):
        row = {"prompt": f"{first}{second}{winner}", "model_a": first, "model_b": second, "winner": winner}
        answers = {"response_1": f"a {margin}", "response_2": "b 0", "length_a": 10, "length_b": 5}
        return {**row, **answers, "language": "English", **flags}

    rows = [
        vote("x", "y", "model_a", 1, hard_prompt=True),
        vote("y", "z", "model_b", 1, language="Russian"),
        vote("z", "x", "tie (bothbad)", 0, hard_prompt=True),
    ]
    parts = run("ppe-human", rows).parts
    assert (parts["hard_prompt"].value, parts["hard_prompt"].n) == (1.0, 1)
    assert (parts["shorter_won"].value, parts["non_english_prompt"].value) == (0.0, 0.0)
    assert "math_prompt" not in parts
    # Ranks by people: x and z 2.5, y 1; by the rewards: x 3, y 2, z 1. They do not correlate.
    assert (parts["models: spearman"].value, parts["models: spearman"].n) == (pytest.approx(0, abs=1e-9), 3)
    with pytest.raises(DataError, match="winner must be"):
        run("ppe-human", [vote("x", "y", "A", 1)])


def test_ppe_correctness_counts_each_conflict_pair_once(run):
    row = {
        "prompt": "p",
        "response_1": "a 1",
        "response_2": "b 2",
        "response_3": "c 0",
        "scores": [1, 0, 0],
        "sampled_conflict_pairs": [[0, 1], [0, 1], [0, 2]],
    }
    result = run("ppe-correctness", [{**row, "benchmark": "gpqa"}])
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert result.parts["gpqa as listed"].value == pytest.approx(1 / 3)
    assert result.parts["gpqa end"].value == 0


def test_the_best_of_k_curve_is_the_mean_over_all_draws():
    rewards, truth = np.array([0.3, 0.9, 0.1, 0.5, 0.5]), np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    curve = ppe.best_of_k_curve(rewards, truth)
    for k in range(1, 6):
        draws = []
        for drawn in itertools.combinations(range(5), k):
            top = [i for i in drawn if rewards[i] == rewards[list(drawn)].max()]
            # A draw of one of two answers with equal rewards stands for both.
            shared = [0.5 if rewards[i] == 0.5 else truth[i] for i in top]
            draws.append(np.mean(shared))
        assert curve[k - 1] == pytest.approx(np.mean(draws))


def test_ppe_best_of_k_numbers_by_hand(run):
    # The reward prefers a wrong answer: one draw has 1/2, both draws always take the wrong one.
    row = {
        "prompt": "p",
        "response_1": "a 1",
        "response_2": "b 2",
        "scores": [1, 0],
        "sampled_conflict_pairs": [[0, 1]],
    }
    parts = run("ppe-correctness", [{**row, "benchmark": "gpqa"}]).parts
    assert (parts["gpqa max"].value, parts["gpqa end"].value) == (0.5, 0.0)
    assert parts["gpqa loss"].value == pytest.approx(((0.5 - 0.5) ** 2 + (1 - 0) ** 2) / 2)
    assert parts["gpqa auc"].value == 0.0


def test_ppe_areas_and_loss_over_two_prompts_by_hand(run):
    def prompt(name, rewards, scores):
        answers = {f"response_{k}": f"{name} {reward}" for k, reward in enumerate(rewards, start=1)}
        return {"prompt": name, "benchmark": "gpqa", "scores": scores, "sampled_conflict_pairs": [[0, 1]], **answers}

    parts = run("ppe-correctness", [prompt("p", (10, 20), [0, 1]), prompt("q", (3, 1), [0, 1])]).parts
    # Scaled, the right answers have 1 and 0, the wrong ones 0 and 1: 1 of 4 wins and 2 ties.
    assert parts["gpqa auc"].value == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert parts["gpqa auc within prompts"].value == pytest.approx((1 + 0) / 2)
    # One draw: 1/2 picked, 1/2 the best. Two draws: 1/2 picked on average, 1 the best.
    assert parts["gpqa loss"].value == pytest.approx((0 + 0.5**2) / 2)


def test_ppe_pairs_that_name_no_response_are_errors(run):
    row = {"prompt": "p", "response_1": "a 1", "response_2": "b 2", "scores": [1, 0]}
    with pytest.raises(DataError, match="names a response that is not there"):
        run("ppe-correctness", [{**row, "sampled_conflict_pairs": [[0, 32]]}])
