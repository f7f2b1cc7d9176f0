import json
import math

import numpy as np
import pytest

from rewardsmith.audit.risk import audit_risk, selective_risk
from rewardsmith.data.simulate import AnnotatorConfig, BiasedScorer, SimulationConfig, simulate
from rewardsmith.errors import DataError
from rewardsmith.evaluation import Resampling, ScoredGroup, score_groups
from rewardsmith.records import Comparison, PreferenceGroup

HOW = Resampling(500, 0)


def brute_force_auroc(right, confidence):
    sure, unsure = confidence[right == 1], confidence[right == 0]
    return np.mean([1.0 if c > d else 0.5 if c == d else 0.0 for c in sure for d in unsure])


def test_the_hand_worked_case():
    found = selective_risk([1, 0, 1, 0], [4, 3, 2, 1], how=HOW)
    # Risks of the first one, two, three, four: 0, 1/2, 1/3, 1/2. Perfect: 0, 0, 1/3, 1/2.
    assert found.aurc.value == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.aurc_perfect == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert found.aurc_random == 0.5
    assert found.auroc.value == pytest.approx(3 / 4)
    assert found.curve[0.5].value == 0.5
    assert (found.curve[0.5].n, found.curve[1.0].n) == (2, 4)


def test_equal_confidence_says_nothing_whatever_the_order_of_the_rows():
    for right in ([1, 1, 0, 0], [0, 0, 1, 1]):
        found = selective_risk(right, [7, 7, 7, 7], how=HOW)
        assert found.aurc.value == pytest.approx(0.5)
        assert found.auroc.value == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_in_order_also_with_ties(seed):
    generator = np.random.default_rng(seed)
    right, confidence = generator.integers(0, 2, 40), generator.integers(0, 6, 40)
    found = selective_risk(right, confidence, how=HOW)
    assert found.auroc.value == pytest.approx(brute_force_auroc(right, confidence))
    assert found.auroc.low <= found.auroc.value <= found.auroc.high


def test_a_random_confidence_has_the_risk_as_its_area_and_the_interval_holds_it():
    generator = np.random.default_rng(3)
    right = generator.random(3000) < 0.8
    found = selective_risk(right, generator.random(3000), how=HOW)
    assert found.aurc.low <= 0.2 <= found.aurc.high
    assert found.auroc.low <= 0.5 <= found.auroc.high


def test_all_right_has_no_risk_and_no_auroc():
    found = selective_risk([1, 1, 1], [1, 2, 3], how=HOW)
    assert found.aurc.value == 0
    assert math.isnan(found.auroc.value)
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_ensemble_knows_more_of_its_errors_than_a_member():
    groups = list(simulate(SimulationConfig(prompts=300, answers=(2, 2), annotators=AnnotatorConfig(temperature=0))))
    members = {f"seed {k}": score_groups(BiasedScorer(noise=1.5, seed=k), groups) for k in range(1, 6)}
    found = audit_risk(members, HOW)
    assert found.accuracy.value > max(estimate.value for estimate in found.members.values())
    for name in ("margin", "agreement", "lowest member"):
        risk = found.by_confidence[name]
        assert risk.aurc_perfect < risk.aurc.value < risk.aurc_random + 1e-9
    assert found.by_confidence["lowest member"].auroc.low > 0.5
    alone = audit_risk({"one": members["seed 1"]}, HOW)
    assert set(alone.by_confidence) == {"margin"}
    assert found.by_confidence["margin"].aurc.value < alone.by_confidence["margin"].aurc.value
    json.dumps(found.to_dict(), allow_nan=False)


def test_members_are_put_on_one_scale_first():
    groups = [PreferenceGroup(f"{i}?", ("a", "b"), (Comparison(0, 1),)) for i in range(4)]
    small = [ScoredGroup(g, (r, 0.0)) for g, r in zip(groups, (1, 1, -1, 1), strict=True)]
    # The same scorer in other units must not outvote the first.
    large = [ScoredGroup(g, (1000 * r, 0.0)) for g, r in zip(groups, (1, -1, 1, 1), strict=True)]
    found = audit_risk({"small": small, "large": large}, HOW)
    # Where they disagree their mean is 0, which is half right.
    assert found.accuracy.value == pytest.approx((1 + 0.5 + 0.5 + 1) / 4)


def test_members_of_different_data_are_refused():
    groups = [PreferenceGroup(f"{i}?", ("a", "b"), (Comparison(0, 1),)) for i in range(3)]
    scored = [ScoredGroup(group, (1.0, 0.0)) for group in groups]
    with pytest.raises(DataError, match="one: 3, two: 2"):
        audit_risk({"one": scored, "two": scored[:2]})
    with pytest.raises(DataError, match="no member"):
        audit_risk({})
