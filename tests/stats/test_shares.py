"""Cluster-robust shares."""

import math

import numpy as np
import pytest

from rewardsmith.stats.shares import clustered_share


def test_clusters_of_one_give_the_usual_standard_error():
    values = [1, 0, 1, 1, 0, 1, 1, 1] * 50
    share = clustered_share(values, range(400))
    assert share.value == 0.75
    assert share.high - share.value == pytest.approx(1.966 * math.sqrt(0.1875 / 399), rel=1e-3)


def test_copies_inside_a_cluster_add_no_certainty():
    values = np.random.default_rng(0).integers(0, 2, 300)
    once = clustered_share(values, range(300))
    many = clustered_share(np.repeat(values, 9), np.repeat(range(300), 9))
    assert many.high - many.low == pytest.approx(once.high - once.low)


def test_the_edges_are_honest():
    assert math.isnan(clustered_share([], []).value)
    assert math.isnan(clustered_share([1, 0], [3, 3]).low)
    sure = clustered_share([1, 1, 1, 1], [0, 1, 2, 3])
    assert (sure.value, sure.high) == (1, 1)
    assert sure.low == pytest.approx(0.510, abs=1e-3)
    none = clustered_share([0, 0, 0, 0], [0, 1, 2, 3])
    assert (none.low, none.high) == (0, pytest.approx(0.490, abs=1e-3))


def test_the_interval_covers_the_truth_with_dependent_values():
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        chances = random.beta(2, 2, 80)
        clusters = np.repeat(np.arange(80), 5)
        share = clustered_share(random.random(400) < chances[clusters], clusters)
        hits += share.low <= 0.5 <= share.high
    assert 0.92 <= hits / 400 <= 0.98
