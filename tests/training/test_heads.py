"""The heads that a run trains: what does not go together is refused, and a head of other ratings is not renamed."""

import pytest
import tiny_models

from rewardsmith import RewardConfig
from rewardsmith.errors import ConfigError
from rewardsmith.models.attribute_head import Attribute, attributes_of, install_attributes
from rewardsmith.training.heads import install_heads_of_run


def settings(tmp_path, **changes):
    weights = {"attributes": ["a", "b"], "attribute_weights": ["a=1", "b=2"]}
    return RewardConfig(str(tmp_path), use_cpu=True, report_to="none", loss_type="regression", **weights | changes)


def test_a_new_head_of_ratings_is_said(tmp_path):
    model, notes = tiny_models.qwen2()[0], []
    install_heads_of_run(model, settings(tmp_path), notes)
    assert attributes_of(model) == (Attribute("a", 1.0), Attribute("b", 2.0))
    assert notes == ["a head of 2 ratings (a, b) was initialised (normal)"]


def test_a_trained_head_of_the_same_ratings_stays_and_of_others_is_refused(tmp_path):
    model, notes = tiny_models.qwen2()[0], []
    install_attributes(model, [Attribute("a", 1.0), Attribute("b", 1.0)])
    model.config.id2label = {0: "a", 1: "b"}
    before = model.score.weight
    install_heads_of_run(model, settings(tmp_path), notes)
    assert model.score.weight is before
    assert notes == []
    model.config.id2label = {0: "b", 1: "a"}
    with pytest.raises(ConfigError, match="gives the ratings b, a, the run learns a, b"):
        install_heads_of_run(model, settings(tmp_path), notes)
