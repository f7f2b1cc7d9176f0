"""Correlations and their intervals, held against scipy and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from rewardsmith.stats.correlation import CORRELATIONS, correlate, kendall, pearson, spearman
from rewardsmith.stats.intervals import Resampling

RNG = np.random.default_rng(0)
X = RNG.normal(size=60)
Y = np.round(X + RNG.normal(size=60), 1)


def test_they_are_scipys():
    assert pearson(X, Y) == pytest.approx(stats.pearsonr(X, Y).statistic)
    assert spearman(X, Y) == pytest.approx(stats.spearmanr(X, Y).statistic)
    assert kendall(X, Y) == pytest.approx(stats.kendalltau(X, Y).statistic)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_what_does_not_vary_has_no_correlation(name):
    assert math.isnan(correlate(np.ones(5), np.arange(5.0), np.arange(5), name).value)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_the_interval_holds_the_value_and_is_wider_where_prompts_are_drawn_whole(name):
    how = Resampling(200)
    alone = correlate(np.repeat(X, 4), np.repeat(Y, 4), np.arange(240), name, how)
    whole = correlate(np.repeat(X, 4), np.repeat(Y, 4), np.repeat(np.arange(60), 4), name, how)
    assert alone.low < alone.value < alone.high
    assert whole.high - whole.low > 1.5 * (alone.high - alone.low)


def test_two_prompts_give_no_interval():
    assert math.isnan(correlate([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [0, 0, 1]).low)
