import math

import numpy as np
import pytest
from scipy.special import expit

from rewardsmith.errors import DataError
from rewardsmith.evaluation.calibration import calibrate
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.stats.intervals import Resampling


def simulated(n, seed=0):
    """Margins of a calibrated scorer: the answer with the higher reward wins with chance sigmoid(|margin|)."""
    generator = np.random.default_rng(seed)
    size = np.abs(generator.normal(0, 2, n))
    return np.where(generator.random(n) < expit(size), size, -size)


def test_the_temperature_is_fitted_on_other_prompts_than_it_is_measured_on():
    groups = [PreferenceGroup(f"p{i % 300}", ("a", "b"), (Comparison(0, 1),)) for i in range(900)]
    scored = [ScoredGroup(g, (float(m), 0.0)) for g, m in zip(groups, simulated(900), strict=True)]
    result = calibrate(scored, Resampling(100))
    assert result.n_fit + result.nll.n == 900
    assert result.n_fit % 3 == 0
    assert result.contract_fields() == {"temperature": result.temperature}


def test_no_judgements_give_nan_and_no_contract_field():
    result = calibrate([], Resampling(10))
    assert math.isnan(result.temperature)
    with pytest.raises(DataError, match="no temperature"):
        result.contract_fields()


def test_a_soft_label_gives_the_same_numbers_as_its_votes_one_by_one():
    generator = np.random.default_rng(0)
    soft, votes = [], []
    for i in range(200):
        rewards, wins = (float(generator.normal()), 0.0), int(generator.integers(0, 5))
        edges = (Comparison(0, 1),) * wins + (Comparison(1, 0),) * (4 - wins)
        soft.append(
            ScoredGroup(PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1, probability=wins / 4),)), rewards)
        )
        if wins != 2:
            votes.append(ScoredGroup(PreferenceGroup(f"p{i}", ("a", "b"), edges), rewards))
    one, other = (calibrate(scored, Resampling(50)) for scored in (soft, votes))
    assert one.temperature == pytest.approx(other.temperature, rel=1e-4)
    for name in ("nll", "brier", "uncertainty"):
        assert one.raw[name] == pytest.approx(other.raw[name])


def test_rewards_that_all_tie_have_no_temperature():
    groups = [PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1),)) for i in range(20)]
    result = calibrate([ScoredGroup(group, (1.0, 1.0)) for group in groups], Resampling(10))
    assert (math.isnan(result.temperature), result.raw["brier"]) == (True, 0.25)
    with pytest.raises(DataError, match="every reward ties"):
        result.contract_fields()
