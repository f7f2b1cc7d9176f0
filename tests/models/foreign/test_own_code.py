"""Reward models that are read by their own rule: objectives, reward classes, steps, PairRM."""

from types import SimpleNamespace

import pytest
from foreign_layouts import listed

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.foreign.own_code import (
    MULTI_OBJECTIVE,
    PAIR_COMPARER,
    REWARD_CLASS,
    StepReader,
    aggregate_steps,
    check_aggregate,
    objective_names,
)
from rewardsmith.records import Message


def test_a_classifier_of_its_own_code_is_known():
    assert MULTI_OBJECTIVE.recognises(listed(auto_map={"AutoModelForSequenceClassification": "code.Armo"}))
    assert not MULTI_OBJECTIVE.recognises(listed(auto_map={"AutoModel": "code.Armo"}))


def test_objectives_have_the_names_of_the_config_where_their_number_fits():
    assert objective_names(SimpleNamespace(attributes=["a", "b"]), 2) == ["a", "b"]
    assert objective_names(SimpleNamespace(id2label={1: "y", 0: "x"}), 2) == ["x", "y"]
    assert len(objective_names(SimpleNamespace(attributes=["a"]), 3)) == 3


def test_a_class_that_is_named_a_reward_model_is_known():
    assert REWARD_CLASS.recognises(listed(auto_map={"AutoModel": "code.InternLM2ForRewardModel"}))
    assert not REWARD_CLASS.recognises(listed(auto_map={"AutoModel": "code.InternLM2Model"}))
    assert not REWARD_CLASS.recognises(listed())


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


def test_the_class_or_both_layers_of_the_head_tell():
    assert PAIR_COMPARER.recognises(listed(architectures=["DebertaV2PairRM"]))
    assert PAIR_COMPARER.recognises(listed("head_layer.1.weight", "head_layer.4.weight"))
    assert not PAIR_COMPARER.recognises(listed("head_layer.1.weight"))
