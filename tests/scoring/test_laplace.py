"""The distribution of a head: worked by hand, and stored beside a model."""

import math

import numpy as np
import pytest
import tiny_models
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.models.verify import verify_folder
from rewardsmith.models.wide_head import LAPLACE_FILE
from rewardsmith.scoring.laplace import (
    Curvature,
    by_marginal_likelihood,
    fit_laplace,
    with_prior,
)
from rewardsmith.scoring.outcomes import moderated


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("laplace")
    trainer = trainer_for(path, tiny_models.pairs(24))
    trainer.train()
    trainer.save_model()
    return path


def test_the_covariance_of_one_comparison_by_hand():
    # Features differ by (2, 0), rewards by 0: the Hessian is 0.25 * 4 = 1 in the first direction, 0 in the second.
    curvature = Curvature(np.diag([1.0, 0.0]), np.zeros(2), np.array([1.0, 1.0]), 1)
    fit = with_prior(curvature, 3.0)
    assert fit.factor @ fit.factor.T == pytest.approx(np.diag([0.25, 1 / 3]))
    assert fit.effective == pytest.approx(0.25)


def test_the_marginal_likelihood_is_stationary_at_its_prior_precision():
    curvature = Curvature(np.diag([8.0, 3.0, 0.5]), np.zeros(3), np.array([0.5, -1.0, 0.25]), 9)

    def evidence(tau: float) -> float:
        square = float(curvature.weight @ curvature.weight)
        return -tau * square / 2 + 1.5 * math.log(tau) - 0.5 * float(np.log(np.diag(curvature.hessian) + tau).sum())

    found = by_marginal_likelihood(curvature)
    assert evidence(found) >= max(evidence(found * 0.99), evidence(found * 1.01))


def test_an_unsure_difference_is_a_less_extreme_probability():
    assert moderated(2.0, 0.0) == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert moderated(2.0, 2.0) == pytest.approx(1 / (1 + math.exp(-2.0 / math.sqrt(1 + math.pi / 2))))
    assert moderated(-2.0, 2.0) == pytest.approx(1 - moderated(2.0, 2.0))


def test_a_fitted_folder_keeps_its_rewards_and_gains_a_deviation(folder):
    before = RewardModel.from_pretrained(str(folder))
    rewards = before.score("good?", ["bad", "nice answer"])
    plain = before.preference_probability("good?", "bad", "nice answer")
    fit = fit_laplace(folder, tiny_models.pairs(24))
    assert fit.chosen_by == "marginal likelihood"
    assert fit.comparisons > 0
    after = RewardModel.from_pretrained(str(folder))
    parts = after.score("good?", ["bad", "nice answer"], return_parts=True)
    assert [part.reward for part in parts] == pytest.approx(rewards, abs=1e-5)
    assert all(part.spread > 0 and not part.members for part in parts)
    careful = RewardModel.from_pretrained(str(folder), combine="soft_min", penalty=2.0)
    expected = [part.reward - part.spread**2 / 4 for part in parts]
    assert careful.score("good?", ["bad", "nice answer"]) == pytest.approx(expected, abs=1e-5)
    moderate = after.preference_probability("good?", "bad", "nice answer")
    assert abs(moderate - 0.5) < abs(plain - 0.5)
    assert all(found.passed for found in verify_folder(folder))
    with pytest.raises(ConfigError, match="no lowest reward"):
        RewardModel.from_pretrained(str(folder), combine="min").score("good?", "bad")


def test_held_out_judgements_choose_the_prior(folder):
    fit = fit_laplace(folder, tiny_models.pairs(24), held_out=tiny_models.pairs(12, seed=5), save=False)
    assert fit.chosen_by == "held-out log loss"
    assert fit.prior_precision > 0


def test_a_distribution_of_another_head_is_refused(folder, tmp_path):
    other = trainer_for(tmp_path, tiny_models.pairs(8))
    other.save_model()
    fit_laplace(folder, tiny_models.pairs(24))
    (tmp_path / LAPLACE_FILE).write_bytes((folder / LAPLACE_FILE).read_bytes())
    with pytest.raises(CheckpointError, match="of another head"):
        RewardModel.from_pretrained(str(tmp_path))
    (tmp_path / LAPLACE_FILE).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="cannot be used"):
        RewardModel.from_pretrained(str(tmp_path))
