"""Predictions for an order: rewards of every answer, and the features that the head reads."""

import numpy as np
import pytest
import tiny_models

from rewardsmith import RewardModel
from rewardsmith.data.gold import GoldScorer
from rewardsmith.errors import ConfigError
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.features import predict

REQUESTS = [ScoreRequest("one?", ("good", "bad answer")), ScoreRequest("two?", ("fine", "poor", "odd"))]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in tiny_models.qwen2():
        part.save_pretrained(folder)
    return RewardModel.from_pretrained(str(folder), verify=False)


def test_features_times_the_head_are_the_rewards(scorer):
    found = predict(scorer, REQUESTS, "fisher")
    head = scorer.model.score.weight.detach().numpy()[0]
    for one, plain in zip(found, predict(scorer, REQUESTS, "gap"), strict=True):
        np.testing.assert_allclose(one.features @ head, one.rewards, atol=1e-5)
        np.testing.assert_allclose(one.rewards, plain.rewards, atol=1e-5)
        assert plain.features is None


def test_a_scorer_without_a_head_has_no_features():
    with pytest.raises(ConfigError, match="fisher needs a local reward model"):
        predict(GoldScorer(), REQUESTS, "fisher")
