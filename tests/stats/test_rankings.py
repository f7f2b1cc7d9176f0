"""The agreement of two rankings of models, by hand and by laws."""

import math

import numpy as np
import pytest

from rewardsmith.stats.rankings import (
    Battle,
    bradley_terry,
    confidence,
    ranking_parts,
    row_wise_pearson,
    win_table,
)


def battles(strengths, seed, *, rewards=None, n=3000):
    """Battles whose results follow Bradley-Terry; the rewards follow their own strengths."""
    generator = np.random.default_rng(seed)
    rewards = strengths if rewards is None else rewards
    names = "abcdefgh"[: len(strengths)]
    made = []
    for _ in range(n):
        i, j = generator.choice(len(strengths), 2, replace=False)
        results = [float(generator.random() < 1 / (1 + math.exp(side[j] - side[i]))) for side in (strengths, rewards)]
        made.append(Battle(names[i], names[j], *results))
    return made


def test_ratings_of_two_models_are_the_log_odds_of_winning():
    ratings = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert ratings[0] - ratings[1] == pytest.approx(math.log(3), abs=1e-3)
    assert ratings.sum() == pytest.approx(0, abs=1e-9)


def test_ratings_are_found_again_and_stay_finite_for_a_model_that_always_wins():
    strengths = np.array([1.0, 0.3, -0.4, -0.9])
    wins = 1000 / (1 + np.exp(strengths[None] - strengths[:, None]))
    np.fill_diagonal(wins, 0)
    assert bradley_terry(wins) == pytest.approx(strengths, abs=1e-4)
    assert np.isfinite(bradley_terry(np.array([[0.0, 50.0], [0.0, 0.0]]))).all()


def test_a_tie_is_half_a_win_for_each():
    table = win_table(np.array([[0, 1], [1, 0], [0, 2]]), np.array([0.5, 1.0, 1.0]), 3)
    assert table.tolist() == [[0, 0.5, 1], [1.5, 0, 0], [0, 0, 0]]


def test_row_wise_pearson_by_hand():
    # Shares of wins against the two others: people (.8, .6) (.2, .4) (.4, .6), rewards (.9, .7) (.1, .9) (.3, .1).
    people = np.array([[0, 8, 6], [2, 0, 4], [4, 6, 0.0]])
    rewards = np.array([[0, 9, 7], [1, 0, 9], [3, 1, 0.0]])
    found = row_wise_pearson(people, rewards)
    assert (found.value, found.n) == (pytest.approx((1 + 1 - 1) / 3), 3)


def test_confidence_by_hand():
    # Draws by people separate all three models; by the rewards, the third beats both, the others overlap.
    people = np.array([[3.0, 2.0, 1.0]] * 4)
    rewards = np.array([[1.0, 2.0, 5.0], [2.0, 1.0, 5.0], [1.0, 2.0, 5.0], [1.0, 1.0, 5.0]])
    found = confidence(people[0], np.stack([people, rewards]))
    assert found["separability"] == pytest.approx(2 / 3)
    assert found["confidence_agreement"] == pytest.approx(-2 / 3)
    # First above second in 1 and a tie of 4 draws; never above the third.
    assert found["brier"] == pytest.approx(((1.5 / 4 - 1) ** 2 + 1 + 1) / 3)


def test_rewards_that_vote_as_people_do_rank_alike():
    made = battles([1.5, 0.5, -0.5, -1.5], seed=0)
    same = ranking_parts([Battle(one.first, one.second, one.people, one.people) for one in made])
    assert same["models: spearman"].value == same["models: kendalltau"].value == pytest.approx(1)
    assert same["models: row-wise pearson"].value == pytest.approx(1)
    assert same["models: separability"].value == same["models: confidence_agreement"].value == 1
    assert same["models: brier"].value == pytest.approx(0, abs=1e-3)
    assert (same["models: spearman"].n, same["models: separability"].n) == (4, 6)
    turned = ranking_parts([Battle(one.first, one.second, one.people, 1 - one.people) for one in made])
    assert turned["models: kendalltau"].value == turned["models: confidence_agreement"].value == pytest.approx(-1)
    assert turned["models: brier"].value == pytest.approx(1, abs=1e-3)


def test_rewards_that_know_nothing_separate_next_to_nothing():
    found = ranking_parts(battles([1.5, 0.5, -0.5, -1.5], seed=1, rewards=[0.0] * 4))
    assert found["models: separability"].value <= 1 / 3
    assert abs(found["models: confidence_agreement"].value) <= 1 / 3


def test_the_ranking_of_one_model_or_by_equal_rewards_is_undefined():
    alone = ranking_parts([Battle("a", "a", 1.0, 1.0)])
    assert all(math.isnan(value.value) for value in alone.values())
    flat = ranking_parts([Battle("a", "b", 1.0, 0.5)] * 3)
    assert math.isnan(flat["models: spearman"].value)
    assert flat["models: separability"].value == 0
