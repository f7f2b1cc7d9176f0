import math

import numpy as np
import pytest
from scipy.special import expit

from rewardsmith.errors import DataError
from rewardsmith.evaluation.calibration import calibrate, calibration_numbers, debiased_ece, fit_temperature
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.stats.intervals import Resampling


def simulated(n, seed=0):
    """Margins of a calibrated scorer: the answer with the higher reward wins with chance sigmoid(|margin|)."""
    generator = np.random.default_rng(seed)
    size = np.abs(generator.normal(0, 2, n))
    return np.where(generator.random(n) < expit(size), size, -size)


def test_a_calibrated_simulator_has_an_ece_near_zero():
    assert np.mean([debiased_ece(simulated(10_000, seed)) for seed in range(5)]) < 0.01


def test_an_overconfident_scorer_is_seen_and_its_temperature_found():
    values = 3 * simulated(20_000)
    assert debiased_ece(values) > 0.05
    assert fit_temperature(values) == pytest.approx(3, rel=0.05)


def test_numbers_by_hand():
    found = calibration_numbers(np.array([math.log(3), -math.log(3)]))
    assert found["brier"] == pytest.approx((1 / 16 + 9 / 16) / 2)
    assert found["nll"] == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_the_decomposition_adds_up_to_the_brier_score():
    found = calibration_numbers(simulated(5000))
    total = found["reliability"] - found["resolution"] + found["uncertainty"] + found["within_bin"]
    assert total == pytest.approx(found["brier"])
    assert abs(found["within_bin"]) < 0.005


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


def test_debiasing_does_not_hide_a_large_gap_in_little_data():
    assert debiased_ece(np.full(13, 0.27)) == pytest.approx(
        np.sqrt((1 - expit(0.27)) ** 2 - expit(0.27) * expit(-0.27) / 13)
    )


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


def test_soft_labels_by_hand():
    found = calibration_numbers(np.array([math.log(3)]), shares=np.array([0.75]))
    assert found["brier"] == pytest.approx(0.75 / 16 + 0.25 * 9 / 16)
    assert found["nll"] == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert found["ece"] == pytest.approx(0)


def test_rewards_that_all_tie_have_no_temperature():
    groups = [PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1),)) for i in range(20)]
    result = calibrate([ScoredGroup(group, (1.0, 1.0)) for group in groups], Resampling(10))
    assert (math.isnan(result.temperature), result.raw["brier"]) == (True, 0.25)
    with pytest.raises(DataError, match="every reward ties"):
        result.contract_fields()
