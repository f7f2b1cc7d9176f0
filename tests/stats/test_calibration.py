"""Calibration of margins whose truth is known, and numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy.special import expit

from rewardsmith.records import Estimate
from rewardsmith.stats.calibration import (
    calibration_numbers,
    ceiling_from_agreement,
    debiased_ece,
    fit_temperature,
    margin_histogram,
    pair_agreement,
    raters_ceiling,
    without_copies,
)


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


def test_a_histogram_counts_every_margin_once_and_never_mixes_right_and_wrong():
    values = np.random.default_rng(0).normal(0.5, 1.0, 500)
    found = margin_histogram(values)
    assert sum(found["counts"]) + found["below"] + found["above"] == found["n"] == 500
    assert 0.0 in [round(edge, 12) for edge in found["edges"]]
    assert found["wrong"] == int((values < 0).sum())
    assert margin_histogram(np.zeros(5))["ties"] == 5
    assert margin_histogram(np.array([]))["n"] == 0


def test_two_raters_who_err_in_a_fifth_agree_in_68_percent():
    assert ceiling_from_agreement(0.8**2 + 0.2**2) == pytest.approx(0.8)
    assert math.isnan(ceiling_from_agreement(0.4))
    # Below chance the raters guess: the ceiling is that of guessing.
    assert raters_ceiling(Estimate(0.4, 10, 0.3, 0.68)).value == 0.5


def test_two_of_three_votes_agree_in_a_third_of_their_pairs():
    votes = np.array([[2.0, 1.0], [2.0, 0.0], [1.0, 0.0]])
    found = pair_agreement(votes, [0, 1, 2])
    assert found.value == pytest.approx((1 / 3 + 1) / 2)
    assert found.n == 2


def test_rows_that_name_no_rater_and_never_differ_are_copies():
    votes = np.array([[2.0, 0.0], [3.0, 0.0]])
    assert without_copies(votes, [False, True]).tolist() == [[0.0, 0.0], [3.0, 0.0]]
    differing = np.array([[2.0, 1.0], [3.0, 0.0]])
    assert without_copies(differing, [False, False]).tolist() == differing.tolist()
