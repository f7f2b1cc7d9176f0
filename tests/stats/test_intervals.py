import math

import numpy as np
import pytest

from rewardsmith.errors import DataError
from rewardsmith.stats.intervals import bootstrap_mean, bootstrap_ratio, holm, resampled_ratios, wilson


def test_wilson_gives_the_textbook_interval():
    estimate = wilson(8, 10)
    assert (estimate.low, estimate.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_no_values_give_nan_and_one_cluster_gives_no_interval():
    assert math.isnan(bootstrap_mean([]).value)
    assert bootstrap_mean([]).n == 0
    assert math.isnan(bootstrap_mean([1, 0], clusters=["p", "p"]).low)


def test_a_perfect_score_does_not_claim_certainty():
    estimate = bootstrap_mean(np.ones(20))
    assert estimate.low < 0.9
    assert estimate.high == 1.0


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)


def test_values_that_are_not_finite_are_an_error():
    with pytest.raises(DataError, match="1 of 2"):
        bootstrap_mean([1.0, math.nan])


def test_a_weighted_mean_is_a_ratio():
    assert bootstrap_ratio([2.0, 0.0, 1.0], [2.0, 1.0, 1.0]).value == pytest.approx(0.75)


def test_drawing_types_and_drawing_clusters_have_the_same_spread():
    sums = np.repeat([0.0, 1.0], [150, 250])
    few = resampled_ratios(sums, np.ones(400), 4000, 0)
    many = resampled_ratios(sums + np.arange(400) * 1e-9, np.ones(400), 4000, 0)
    assert few.std() == pytest.approx(many.std(), rel=0.06)


def _coverage(sets: int, resamples: int) -> float:
    """Share of intervals that hold the truth: unequal clusters whose members share a difficulty."""
    hits = 0
    for seed in range(sets):
        generator = np.random.default_rng(seed)
        sizes = generator.integers(1, 8, size=120)
        chance = np.repeat(generator.beta(4, 2, size=120), sizes)
        values = generator.random(sizes.sum()) < chance
        estimate = bootstrap_mean(values, np.repeat(np.arange(120), sizes), resamples, seed)
        hits += estimate.low <= 4 / 6 <= estimate.high
    return hits / sets


def test_intervals_cover_the_truth_for_unequal_clusters():
    assert 0.90 <= _coverage(200, 500) <= 0.99


@pytest.mark.slow
def test_intervals_cover_the_truth_in_93_to_97_percent_of_1000_sets():
    assert 0.93 <= _coverage(1000, 2000) <= 0.97
