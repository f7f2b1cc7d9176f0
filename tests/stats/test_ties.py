"""Temperature and threshold fitted together: the exact optimum, its gradient, its laws, and where there is none."""

import numpy as np
import pytest
import torch
from any_ties import TRUTH, drawn

from rewardsmith.objectives import OBJECTIVES
from rewardsmith.stats.intervals import Resampling
from rewardsmith.stats.tie_calibration import measure_ties
from rewardsmith.stats.ties import TIE_MODELS, Judged, fit_better, fit_ties, why_no_fit


def judged(*rows):
    return Judged.of([(lead, shares, str(number)) for number, (lead, shares) in enumerate(rows)])


BETTER, WORSE, TIE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@pytest.mark.parametrize("model", TIE_MODELS)
def test_the_formulas_are_those_of_the_objectives(model):
    leads, threshold = np.array([-900.0, -2.0, 0.0, 0.7, 900.0]), 0.3
    found = TIE_MODELS[model].logs(leads, threshold)
    expected = OBJECTIVES[model].log_outcomes(torch.tensor(leads), torch.tensor(threshold, dtype=torch.float64))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-12)


@pytest.mark.parametrize("model", TIE_MODELS)
def test_the_truth_is_found_at_a_gradient_of_nothing_and_lies_in_the_intervals(model):
    data = drawn(model, 1500)
    fit = fit_ties(data, model, Resampling(60))
    temperature, threshold = TRUTH[model]
    assert fit.temperature.low < temperature < fit.temperature.high
    assert fit.threshold.low < threshold < fit.threshold.high
    at = torch.tensor([1 / fit.temperature.value, fit.threshold.value], dtype=torch.float64, requires_grad=True)
    logs = torch.stack(OBJECTIVES[model].log_outcomes(torch.tensor(data.leads) * at[0], at[1]), dim=1)
    loss = -(torch.tensor(data.shares) * logs).sum(dim=1).mean()
    loss.backward()
    assert fit.loss == pytest.approx(loss.item(), rel=1e-12)
    assert at.grad.abs().max() < 1e-12
    assert fit_better(data, None).model == model


@pytest.mark.parametrize("model", TIE_MODELS)
def test_scaled_and_turned_judgements_have_the_same_threshold(model):
    data = drawn(model, 300)
    fit = fit_ties(data, model)
    scaled = fit_ties(Judged(data.leads * 1e6, data.shares, data.prompts), model)
    assert scaled.temperature.value == pytest.approx(1e6 * fit.temperature.value)
    assert scaled.threshold.value == pytest.approx(fit.threshold.value)
    turned = fit_ties(Judged(-data.leads, data.shares[:, [1, 0, 2]], data.prompts), model)
    assert (turned.temperature.value, turned.threshold.value) == pytest.approx(
        (fit.temperature.value, fit.threshold.value)
    )


def test_shares_of_votes_fit_as_the_votes_one_by_one():
    one = judged((1.0, (0.6, 0.2, 0.2)), (-0.5, (0.2, 0.4, 0.4)), (2.0, (0.8, 0.2, 0.0)))
    rows = zip(one.leads, one.shares, strict=True)
    votes = judged(*((lead, shape) for lead, share in rows for shape, n in zip((BETTER, WORSE, TIE), share, strict=True)
                     for _ in range(round(5 * n))))  # fmt: skip
    assert len(votes) == 15
    for model in TIE_MODELS:
        first, second = fit_ties(one, model), fit_ties(votes, model)
        assert first.threshold.value == pytest.approx(second.threshold.value)
        assert (first.temperature.value, first.loss) == pytest.approx((second.temperature.value, second.loss))


def test_what_has_no_optimum_is_known_before_and_said():
    for rows, why in (
        ((), "no judgement"),
        (((1.0, BETTER),), "none of 1 judgements is a tie"),
        (((1.0, TIE), (2.0, TIE)), "all of 2 judgements are ties"),
        (((0.0, BETTER), (0.0, TIE)), "are equal"),
        (((1.0, BETTER), (-3.0, WORSE), (0.4, TIE)), "apart, ties from preferences too"),
        (((-1.0, BETTER), (3.0, WORSE), (0.4, TIE)), "wrong way round"),
    ):
        assert why in why_no_fit(judged(*rows))
    # A tie with a wider lead than a preference leaves a finite optimum, though every preference is right.
    data = judged((1.0, BETTER), (-3.0, WORSE), (1.4, TIE))
    assert why_no_fit(data) is None
    assert 0.01 < fit_ties(data, "davidson").temperature.value < 100
    against = judged((-1.0, BETTER), (-2.0, BETTER), (1.0, BETTER), (1.5, TIE))
    assert why_no_fit(against) is None
    assert fit_ties(against, "rao_kupper") is None
    assert "no better than chance" in measure_ties(against, against, "rao_kupper", None, Resampling(10)).why
