import math

import numpy as np
import pytest

from rewardsmith.evaluation import Resampling
from rewardsmith.stats.clustered_sums import ClusteredSums, Statistic, resample_totals
from rewardsmith.stats.intervals import bootstrap_ratio


def test_a_ratio_has_the_interval_of_the_bootstrap_of_ratios():
    generator = np.random.default_rng(0)
    cluster = generator.integers(0, 80, 400)
    top = generator.normal(1.0, 1.0, 400) + cluster / 80
    sums = ClusteredSums(80)
    sums.add(cluster, top=top, n=np.ones(400))
    found = sums.estimate({"mean": Statistic(lambda t: t["top"] / t["n"], 400)}, Resampling(8000))["mean"]
    other = bootstrap_ratio(top, np.ones(400), cluster, 8000, 1)
    assert found.value == pytest.approx(other.value)
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_totals_of_samples_draw_as_many_clusters_as_there_are():
    totals = resample_totals(np.ones((7, 2)), Resampling(50))
    assert totals.shape == (50, 2)
    assert (totals == 7).all()


def test_an_undefined_statistic_is_nan_with_its_n():
    sums = ClusteredSums(3)
    sums.add(np.array([0, 1, 2]), top=np.zeros(3), n=np.zeros(3))
    found = sums.estimate({"share": Statistic(lambda t: t["top"] / t["n"], 0, True)}, Resampling(50))["share"]
    assert math.isnan(found.value)
    assert found.n == 0
    assert math.isnan(found.low)


def test_a_perfect_share_gets_wilsons_interval_and_not_certainty():
    sums = ClusteredSums(10)
    sums.add(np.arange(10), top=np.ones(10), n=np.ones(10))
    found = sums.estimate({"share": Statistic(lambda t: t["top"] / t["n"], 10, True)}, Resampling(50))["share"]
    assert found.value == 1.0
    assert 0.6 < found.low < 0.8
    assert found.high == pytest.approx(1.0)
