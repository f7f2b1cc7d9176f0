"""Orders by hand, and their laws."""

import numpy as np
import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.stats.ordering import Prediction, order_values


def predictions(*rewards):
    return [Prediction(np.array(row, dtype=float)) for row in rewards]


def test_gap_is_the_widest_difference_and_uncertainty_the_narrowest():
    rows = predictions([0, 3, 1], [0, 0.5, 5], [2, 2, 2])
    assert order_values("gap", rows) == [3, 5, 0]
    assert np.argsort(order_values("uncertainty", rows)).tolist() == [0, 1, 2]
    assert order_values("uncertainty", rows)[2] == 0.25


def test_fisher_turns_to_a_new_direction_after_the_first_pick():
    one, other = np.array([[1.0, 0], [0, 0]]), np.array([[0, 0.9], [0, 0]])
    rows = [Prediction(np.zeros(2), features) for features in (one, one * 0.99, other)]
    values = order_values("fisher", rows)
    assert np.argsort(values)[::-1].tolist() == [0, 2, 1]


def test_fisher_values_are_the_gains_in_log_det():
    generator = np.random.default_rng(0)
    rows = [Prediction(generator.normal(size=2), generator.normal(size=(2, 3))) for _ in range(6)]
    values = order_values("fisher", rows)
    x = np.array([row.features[0] - row.features[1] for row in rows])
    x /= np.sqrt(np.mean(x**2))
    p = 1 / (1 + np.exp(-np.array([row.rewards[0] - row.rewards[1] for row in rows])))
    information, found = np.eye(3), []
    for number in np.argsort(values)[::-1]:
        before = np.linalg.slogdet(information)[1]
        information = information + p[number] * (1 - p[number]) * np.outer(x[number], x[number])
        found.append(np.linalg.slogdet(information)[1] - before)
    assert found == pytest.approx(sorted(values, reverse=True))


def test_fisher_without_features_is_refused():
    with pytest.raises(ConfigError, match="--model"):
        order_values("fisher", predictions([0, 1]))
