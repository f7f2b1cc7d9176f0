"""The face of every scorer: requests from what a user gives, parts, and the logistic function."""

import math

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.records import TokenIds
from rewardsmith.scoring.scorer import RewardParts, check_truncation, make_request, probability


def test_texts_and_token_ids_make_a_request():
    request = make_request("q", ["a", [1, 2]])
    assert (request.prompt, request.completions) == ("q", ("a", TokenIds((1, 2))))


def test_rescaling_keeps_attributes_and_divides_the_spread():
    parts = RewardParts(3.0, 1.0, (2.0, 4.0), {"kind": 0.5}).rescaled(1.0, 2.0)
    assert (parts.reward, parts.spread, parts.members) == (1.0, 0.5, (0.5, 1.5))
    assert parts.to_dict() == {"spread": 0.5, "members": [0.5, 1.5], "attributes": {"kind": 0.5}}
    assert RewardParts(1.0).to_dict() == {}


def test_the_logistic_function_does_not_overflow():
    assert (probability(0.0), probability(-1e4), probability(1e4)) == (0.5, 0.0, 1.0)
    assert probability(1.0) == pytest.approx(math.e / (1 + math.e))


def test_an_unknown_truncation_is_refused():
    with pytest.raises(ConfigError, match="truncation 'cut' is not known"):
        check_truncation("cut")
