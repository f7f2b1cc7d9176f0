from itertools import combinations

import numpy as np
import pytest

from rewardsmith.audit.best_of_n import best_of_n, best_of_n_kl, n_of_kl
from rewardsmith.errors import DataError


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
