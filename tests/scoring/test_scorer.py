"""The face of every scorer: requests from what a user gives, parts, and the logistic function."""

import math

import pytest

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.records import TokenIds
from rewardsmith.scoring.answers import make_request
from rewardsmith.scoring.scorer import RewardParts, RewardScorer, check_truncation, probability


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


class Counting(RewardScorer):
    """Counts the letters of an answer; refuses a letter x."""

    capabilities = None
    text_rule = ""

    def score_parts(self, requests, *, truncation=None, normalized=False):
        if any("x" in answer for request in requests for answer in request.completions):
            raise ScoringError("the letter x")
        return [[RewardParts(float(len(answer))) for answer in request.completions] for request in requests]


def test_a_missing_answer_has_none_as_its_reward_and_costs_no_other(caplog):
    model = Counting()
    assert model.score("q", ["a", None, "bb"]) == [1.0, None, 2.0]
    assert model.score("q", [None]) == [None]
    assert model.score(["q", "r"], [["a", None], [None, "bb"]]) == [[1.0, None], [None, 2.0]]
    assert list(model.score_stream([("q", ["a", None]), ("r", [None])])) == [[1.0, None], [None]]
    assert model.score("q", [None, "a"], return_parts=True) == [None, RewardParts(1.0)]
    assert not caplog.messages


def test_with_partial_what_cannot_be_read_or_scored_is_none_and_the_log_says_why(caplog):
    model = Counting()
    with pytest.raises(ScoringError, match="the letter x"):
        model.score("q", ["a", "x"])
    with pytest.raises(DataError):
        model.score("q", ["a", 5])
    assert model.score("q", ["a", "x", 5, None, "bb"], partial=True) == [1.0, None, None, None, 2.0]
    assert [m.split(":")[0] for m in caplog.messages] == ["completion 2 has no reward", "completion 1 has no reward"]
    assert model.score(["q", "r"], [["x"], ["a"]], partial=True) == [[None], [1.0]]
