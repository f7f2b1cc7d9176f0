"""P(tie) of a scorer and of the fit beside the share of ties, and what the fit gains."""

import numpy as np
from any_ties import drawn

from rewardsmith.stats.intervals import Resampling
from rewardsmith.stats.tie_calibration import measure_ties
from rewardsmith.stats.ties import TIE_MODELS


def test_the_fit_is_held_against_what_the_scorer_says_now_and_against_shares():
    fit, held = drawn("davidson", 1500), drawn("davidson", 1500, seed=1)
    now = np.exp(np.stack(TIE_MODELS["davidson"].logs(held.leads, -2.0), axis=1))
    found = measure_ties(fit, held, "davidson", now, Resampling(60))
    assert found.predicted["as_it_is"].high < found.share.low
    assert found.share.low < found.predicted["fitted"].value < found.share.high
    assert set(found.gains) == {"as_it_is", "shares_alone", "ties_whatever_the_rewards"}
    assert all(found.gains[name].low > 0 for name in ("as_it_is", "shares_alone"))
    gaps = [abs(part.predicted - part.share.value) for part in found.bins["fitted"]]
    assert (len(gaps), max(gaps) < 0.1) == (10, True)
