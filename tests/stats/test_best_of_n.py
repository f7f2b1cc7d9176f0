import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from rewardsmith.audit.over_optimisation import SIZES
from rewardsmith.errors import DataError
from rewardsmith.evaluation import Resampling
from rewardsmith.stats.best_of_n import _weights, best_of_n, best_of_n_kl, dense_sizes, fit_turning, n_of_kl


def brute_force(proxy, values, n):
    """Average over all subsets of n samples, and over all samples of a subset that share the highest proxy."""
    means = []
    for subset in combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in subset)
        means.append(np.mean([values[i] for i in subset if proxy[i] == top]))
    return np.mean(means)


def test_the_hand_worked_case():
    # Subsets of two of the three samples: {0,1} -> 7, {0,2} -> 0, {1,2} -> 0.
    np.testing.assert_allclose(best_of_n([0, 1, 2], [5, 7, 0], (1, 2, 3)), [4, 7 / 3, 0])


@pytest.mark.parametrize("proxy", [(3, 1, 2, 6, 5, 4), (1, 1, 2, 2, 2, 0), (1, 1, 1, 1, 1, 1)])
def test_the_estimate_is_the_mean_over_all_subsets_also_with_ties(proxy):
    values = [0.3, -1.0, 2.0, 0.5, 7.0, -2.5]
    sizes = tuple(range(1, 7))
    expected = [brute_force(proxy, values, n) for n in sizes]
    np.testing.assert_allclose(best_of_n(proxy, values, sizes), expected, atol=1e-12)


def test_large_binomials_do_not_overflow():
    rewards = np.random.default_rng(0).normal(size=5000)
    found = best_of_n(rewards, np.ones(5000), (1, 1024, 5000))
    np.testing.assert_allclose(found, 1.0, atol=1e-8)
    assert best_of_n(rewards, rewards, (5000,))[0] == pytest.approx(rewards.max())


def test_it_agrees_with_drawing_subsets_by_chance():
    generator = np.random.default_rng(1)
    proxy, gold = generator.normal(size=(2, 200))
    drawn = [max(generator.choice(200, 8, replace=False), key=lambda i: proxy[i]) for _ in range(4000)]
    standard_error = gold[drawn].std() / np.sqrt(4000)
    assert abs(best_of_n(proxy, gold, (8,))[0] - gold[drawn].mean()) < 4 * standard_error


def test_a_size_beyond_the_samples_is_an_error():
    with pytest.raises(DataError):
        best_of_n([1.0, 2.0], [1.0, 2.0], (3,))


@pytest.mark.parametrize(("n", "kl"), [(1, 0.0), (2, 0.193), (4, 0.636), (16, 1.835), (64, 3.175), (256, 4.549)])
def test_divergence_of_best_of_n_and_its_inverse(n, kl):
    assert best_of_n_kl(n) == pytest.approx(kl, abs=5e-4)
    assert n_of_kl(best_of_n_kl(n)) == pytest.approx(n, rel=1e-6)


HOW = Resampling(500, 0)
TO_256 = tuple(n for n in SIZES if n <= 256)
DENSE = tuple(sorted({*TO_256, *dense_sizes(256)}))


def curve_with(alpha: float, beta: float) -> np.ndarray:
    """Return gold rewards of 256 samples, in order of their proxy, whose curve is exactly d (alpha - beta d)."""
    kl = np.array([best_of_n_kl(n) for n in DENSE])
    return np.linalg.lstsq(_weights(256, DENSE), np.sqrt(kl) * alpha - kl * beta, rcond=None)[0]


def test_an_exact_curve_is_recovered_exactly():
    gold = curve_with(2.0, 0.7)
    curve = best_of_n(np.arange(256), gold, DENSE)
    fit = fit_turning((DENSE, np.stack([curve, curve, curve])), TO_256, HOW)
    assert fit.alpha.value == pytest.approx(2.0, abs=1e-6)
    assert fit.beta.value == pytest.approx(0.7, abs=1e-6)
    assert fit.turning_kl.value == pytest.approx((2.0 / 1.4) ** 2, abs=1e-5)
    assert fit.turning_kl_of_fit.value == pytest.approx((2.0 / 1.4) ** 2, abs=1e-5)
    assert fit.misfit < 1e-6
    assert best_of_n_kl(fit.turning_n) == pytest.approx(fit.turning_kl.value)
    assert fit.peak_n in (16, 24)


def gao(position: np.ndarray) -> np.ndarray:
    """Return the curve that is exactly d (2 - 0.7 d)."""
    return curve_with(2.0, 0.7)


def parabola(position: np.ndarray) -> np.ndarray:
    """Return gold that rises with the proxy's normal score and falls again."""
    z = norm.ppf(position)
    return 1.2 * z - 0.5 * z**2


def kink(position: np.ndarray) -> np.ndarray:
    """Return gold that turns all at once."""
    z = norm.ppf(position)
    return z - 2.0 * np.maximum(z - 1.0, 0.0)


def true_turning_kl(gold) -> float:
    """Return where the expected curve is highest, from the density n u^(n - 1) of the chosen sample's position."""
    position = (np.arange(100_000) + 0.5) / 100_000
    means = [np.mean(n * position ** (n - 1) * gold(position)) for n in DENSE]
    return best_of_n_kl(DENSE[int(np.argmax(means))])


@pytest.mark.parametrize(
    ("gold", "noise", "truth"),
    [
        (gao, 2.0, (2.0 / 1.4) ** 2),
        pytest.param(parabola, 1.0, 1.066, marks=pytest.mark.slow),
        pytest.param(parabola, 3.0, 1.066, marks=pytest.mark.slow),
        (kink, 1.0, 0.842),
    ],
)
def test_the_interval_holds_the_turning_point_about_as_often_as_it_says(gold, noise, truth):
    weights, held = _weights(256, DENSE), []
    for repeat in range(200):
        generator = np.random.default_rng(repeat)
        values = gold(np.sort(generator.random((60, 256)))) * generator.normal(1, 0.3, (60, 1))
        curves = (values + generator.normal(0, noise, (60, 256))) @ weights.T
        turning = fit_turning((DENSE, curves), TO_256, Resampling(50, repeat)).turning_kl
        if not math.isnan(turning.value):
            held.append(turning.low <= truth <= (math.inf if math.isnan(turning.high) else turning.high))
    assert len(held) > 170
    # Three standard errors of 200 draws around 0.95.
    assert 0.90 < np.mean(held) < 0.996


@pytest.mark.parametrize(("gold", "truth"), [(parabola, 1.066), (kink, 0.842)])
def test_the_truths_of_the_simulated_curves_are_where_they_are_highest(gold, truth):
    # Between whole n the curve is flat enough for the next one.
    assert true_turning_kl(gold) == pytest.approx(truth, abs=0.08)


def test_a_curve_that_falls_from_the_start_turns_at_zero():
    falling = np.tile(-np.sqrt([best_of_n_kl(n) for n in DENSE]), (5, 1))
    turning = fit_turning((DENSE, falling), TO_256, HOW).turning_kl
    assert (turning.value, turning.low) == (0.0, 0.0)
    assert turning.high < 0.3


def test_a_curve_that_may_still_rise_has_an_interval_without_an_end():
    generator = np.random.default_rng(0)
    d = np.sqrt([best_of_n_kl(n) for n in DENSE])
    # On average it turns at half the way; each prompt turns elsewhere or not at all.
    curves = d * generator.normal(1, 3, (12, 1)) - d**2 / d[-1]
    turning = fit_turning((DENSE, curves), TO_256, HOW).turning_kl
    assert 0 < turning.value < d[-1] ** 2
    assert math.isnan(turning.high)


def test_prompts_that_all_agree_leave_no_room_around_the_turning_point():
    curve = best_of_n(np.arange(256), curve_with(2.0, 0.7), DENSE)
    turning = fit_turning((DENSE, np.stack([curve] * 4)), TO_256, HOW).turning_kl
    assert turning.low == pytest.approx(turning.value, abs=0.002)
    assert turning.high == pytest.approx(turning.value, abs=0.002)
