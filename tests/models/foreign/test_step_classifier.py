"""Steps: where their token goes, and one reward from their scores."""

import pytest

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.foreign.step_classifier import StepReader, aggregate_steps, check_aggregate
from rewardsmith.records import Message

READER = StepReader(7, "<s>", "min")


@pytest.mark.parametrize(("how", "reward"), [("min", 0.25), ("product", 0.125), ("last", 0.5), ("mean", 0.375)])
def test_one_reward_is_made_of_the_steps_as_asked(how, reward):
    assert aggregate_steps([0.25, 0.5], check_aggregate(how)) == reward


def test_an_unknown_aggregation_is_refused():
    with pytest.raises(ConfigError, match="aggregate 'max' is not known"):
        check_aggregate("max")


def test_every_paragraph_ends_in_the_step_token_unless_the_answer_marks_its_own():
    assert READER.prepare("one\n\n two\n\n") == "one<s>two<s>"
    assert READER.prepare("one\n\ntwo<s>") == "one\n\ntwo<s>"
    (message,) = READER.prepare((Message("assistant", "one\n\ntwo"),))
    assert message.content == "one<s>two<s>"


def test_a_sequence_without_a_step_is_refused():
    READER.check([1, 7])
    with pytest.raises(ScoringError, match="holds no step"):
        READER.check([1, 2])
