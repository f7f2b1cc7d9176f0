"""Calibration of margins whose truth is known, and numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy.special import expit

from rewardsmith.stats.calibration import calibration_numbers, debiased_ece, fit_temperature


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


def test_debiasing_does_not_hide_a_large_gap_in_little_data():
    assert debiased_ece(np.full(13, 0.27)) == pytest.approx(
        np.sqrt((1 - expit(0.27)) ** 2 - expit(0.27) * expit(-0.27) / 13)
    )


def test_soft_labels_by_hand():
    found = calibration_numbers(np.array([math.log(3)]), shares=np.array([0.75]))
    assert found["brier"] == pytest.approx(0.75 / 16 + 0.25 * 9 / 16)
    assert found["nll"] == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert found["ece"] == pytest.approx(0)
