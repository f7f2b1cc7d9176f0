import json

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.records import Message, ScoreRequest
from rewardsmith.rl.shaping import LengthPenalty, RewardOptions, shape
from rewardsmith.scoring.scorer import RewardParts

REQUEST = ScoreRequest("q", ("one", "two words", "three words here"))
ROW = [RewardParts(1.0, 0.0, (1.0, 1.0)), RewardParts(3.0, 1.0, (2.0, 4.0)), RewardParts(5.0, 2.0, (3.0, 7.0))]


def shaped(**options):
    return shape(RewardOptions(**options), REQUEST, ROW)


def test_without_options_rewards_are_as_they_are():
    assert shaped() == [1.0, 3.0, 5.0]


def test_pessimism_reads_the_members():
    assert shaped(combine="min") == [1.0, 2.0, 3.0]
    assert shaped(combine="mean_minus_std", penalty=2.0) == [1.0, 1.0, 1.0]
    assert shaped(combine="soft_min", penalty=1e6) == pytest.approx([1.0, 3.0, 5.0], abs=1e-4)
    assert shaped(combine="soft_min", penalty=1e-3) == pytest.approx([1.0, 2.0, 3.0], abs=1e-2)


def test_length_is_taken_before_the_scale_and_the_clip_comes_last():
    how = RewardOptions(length=LengthPenalty(1.0), clip=0.75)
    assert shape(how, REQUEST, [part.rescaled(1.0, 2.0) for part in ROW], 2.0) == [-0.5, 0.0, 0.5]
    assert shape(how, REQUEST, ROW) == [0.0, 0.75, 0.75]
    characters = LengthPenalty(0.5, "characters")
    assert characters.of((Message("assistant", "four"),)) == 2.0
    assert characters.of((Message("assistant", [{"type": "text", "text": "four"}]),)) == 2.0
    assert characters.of((Message("assistant", None, {"tool_calls": [{}]}),)) == 0.0


def test_an_answer_whose_spread_is_the_uncertainty_counts_half():
    assert shaped(uncertainty=2.0) == pytest.approx([1.0, 3.0, 4.0])


def test_a_reward_that_is_missing_stays_missing():
    found = shape(RewardOptions(uncertainty=1.0, clip=9), REQUEST, [None, *ROW[1:]])
    assert found[0] is None
    assert found[1:] == pytest.approx([3.5, 4.2])


def test_the_penalty_is_what_an_audit_measured(tmp_path):
    audit = {
        "length": {
            "unit": "words",
            "excess_weight": {"value": 0.02, "n": 9, "low": 0.01, "high": 0.03},
            "other_units": {"characters": {"excess_weight": {"value": 0.001, "n": 9, "low": -0.1, "high": 0.1}}},
        }
    }
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(audit))
    assert LengthPenalty.from_audit(path) == LengthPenalty(0.02)
    assert LengthPenalty.from_audit(path, "characters") == LengthPenalty(0.0, "characters")
    path.write_text("[]")
    with pytest.raises(ConfigError, match="no audit of the length of one model"):
        LengthPenalty.from_audit(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 0.0},
        {"uncertainty": -1.0},
        {"combine": "most"},
        {"wait_seconds": -1.0},
        {"combine": "mean_minus_std", "penalty": float("nan")},
        {"combine": "soft_min", "penalty": float("inf")},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError):
        RewardOptions(**wrong)
