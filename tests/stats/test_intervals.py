import math

import numpy as np
import pytest

from rewardsmith.errors import DataError
from rewardsmith.stats.intervals import (
    Observations,
    Resampling,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_test,
    clustered_share,
    paired_difference,
    resampled_ratios,
    wilson,
)


def test_wilson_gives_the_textbook_interval():
    estimate = wilson(8, 10)
    assert (estimate.low, estimate.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


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


def test_clusters_of_one_give_the_usual_standard_error():
    values = [1, 0, 1, 1, 0, 1, 1, 1] * 50
    share = clustered_share(values, range(400))
    assert share.value == 0.75
    assert share.high - share.low == pytest.approx(2 * 1.966 * math.sqrt(0.1875 / 399), rel=5e-3)
    independent = wilson(300, 400)
    assert (share.low, share.high) == pytest.approx((independent.low, independent.high), abs=1e-3)


def rejections(test, sets=150):
    """How often a test of two models that are equally good says otherwise, with four judgements a prompt, icc 0.3."""
    generator = np.random.default_rng(0)
    found = []
    for seed in range(sets):
        chance = generator.beta(0.65 * 7 / 3, 0.35 * 7 / 3, (2, 100)).repeat(4, axis=1)
        right = generator.random((2, 400)) < chance
        found.append(test(right[0] * 1.0 - right[1], np.repeat(range(100), 4), seed))
    return found


def test_p_and_interval_agree_and_hold_their_size_with_several_judgements_a_prompt():
    results = rejections(lambda gaps, prompts, seed: bootstrap_test(gaps, prompts, Resampling(300, seed)))
    assert all((p < 0.05) == (estimate.low > 0 or estimate.high < 0) for estimate, p in results)
    assert 0.01 <= sum(p < 0.05 for _, p in results) / len(results) <= 0.10


@pytest.mark.parametrize(
    ("truth", "prompts", "judgements", "alike"),
    [(0.55, 100, 4, 0.3), (0.9, 100, 4, 0.3), (0.99, 300, 4, 0.3), (0.99, 100, 8, 0.5), (0.98, 100, 16, 0.5)],
)
def test_shares_near_one_half_and_near_one_are_covered(truth, prompts, judgements, alike):
    generator = np.random.default_rng(1)
    spread, hits = 1 / alike - 1, 0
    for _ in range(400):
        chance = generator.beta(truth * spread, (1 - truth) * spread, prompts).repeat(judgements)
        share = clustered_share(generator.random(len(chance)) < chance, np.repeat(range(prompts), judgements))
        hits += share.low <= truth <= share.high
    assert 0.92 <= hits / 400 <= 0.985


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


HOW = Resampling(1000, 0)


def observed(values) -> Observations:
    return Observations(list(map(float, values)), list(range(len(values))))


def test_paired_values_that_are_equal_everywhere_differ_by_nothing():
    found = paired_difference(observed([1, 0, 1]), observed([1, 0, 1]), HOW)
    assert (found.value, found.n) == (0.0, 3)
    assert math.isnan(found.low)
