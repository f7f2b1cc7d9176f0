"""A head of ratings: what it gives, what its folder holds, and the one row that it folds into."""

import json

import pytest
import tiny_models
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.models.attribute_head import (
    Attribute,
    AttributeHead,
    attributes_of,
    install_attributes,
    set_attributes,
)
from rewardsmith.models.checkpoint import save_reward_model
from rewardsmith.models.shared_prefix.plan import compute_columns, compute_rewards, prepare_model
from rewardsmith.models.verify import verify_folder
from rewardsmith.models.wide_head import collapse, install_heads

ATTRIBUTES = (Attribute("helpfulness", 0.75, mean=3.0, std=2.0), Attribute("verbosity", -0.25))
GROUPS = [[[5, 6, 7, 8], [5, 6, 9]], [[11, 12, 13]]]


def save_rated(folder, family="qwen2", attributes=ATTRIBUTES):
    model, tokenizer = getattr(tiny_models, family)()
    torch.manual_seed(1)
    install_attributes(model, attributes)
    save_reward_model(model, tokenizer, folder, prepare_model(model), verify=False)
    return folder


def test_the_reward_is_the_weighted_sum_of_ratings_on_their_own_scales():
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # helpfulness 3 + 2 * 0.5 = 4, verbosity 8: 0.75 * 4 - 0.25 * 8 = 1.
    assert AttributeHead(layer, ATTRIBUTES)(torch.tensor([[0.5, 8.0]])).tolist() == [[1.0, 4.0, 8.0]]


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_a_folded_head_gives_the_same_rewards(family):
    model, _ = getattr(tiny_models, family)()
    assert install_attributes(model, ATTRIBUTES)
    before = compute_columns(model, GROUPS)
    assert attributes_of(model) == ATTRIBUTES
    assert len(before[0][0]) == 3
    collapse(model)
    assert attributes_of(model) == ()
    for row, rewards in zip(before, compute_rewards(model, GROUPS), strict=True):
        assert [columns[0] for columns in row] == pytest.approx(rewards, abs=1e-5)


def test_other_weights_change_the_reward_and_no_rating():
    model, _ = tiny_models.qwen2()
    install_attributes(model, ATTRIBUTES)
    before = compute_columns(model, GROUPS)[1][0]
    set_attributes(model, [Attribute("helpfulness", 1.0, 3.0, 2.0), Attribute("verbosity", 0.0)])
    after = compute_columns(model, GROUPS)[1][0]
    assert after[1:] == before[1:]
    assert after[0] == pytest.approx(before[1])


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_the_folder_is_a_classifier_of_named_labels_and_loads_with_its_ratings(tmp_path, family):
    folder = save_rated(tmp_path / "rated", family)
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "helpfulness", "1": "verbosity"}
    assert config["problem_type"] == "regression"
    assert all(found.passed for found in verify_folder(folder))
    model = RewardModel.from_pretrained(str(folder), device="cpu")
    [[part]] = model.score_parts([model_request()])
    assert list(part.attributes) == ["helpfulness", "verbosity"]
    assert part.reward == pytest.approx(0.75 * part.attributes["helpfulness"] - 0.25 * part.attributes["verbosity"])
    assert model.score("question", ["good answer"]) == [part.reward]
    # What transformers reads are the rows, before their scales are undone.
    theirs = AutoModelForSequenceClassification.from_pretrained(folder)
    [[ids]] = [model.encode(model_request())]
    rows = theirs(input_ids=torch.tensor([ids])).logits[0].tolist()
    assert part.attributes == pytest.approx({"helpfulness": 3 + 2 * rows[0], "verbosity": rows[1]}, abs=1e-4)


def model_request():
    from rewardsmith.records import ScoreRequest

    return ScoreRequest("question", ("good answer",))


@pytest.mark.parametrize("pooling", ["mean", "mean_max"])
def test_a_pooled_head_keeps_its_ratings(tmp_path, pooling):
    from rewardsmith.models.heads import with_pooling

    model, tokenizer = tiny_models.qwen2()
    model, _ = with_pooling(model, pooling)
    install_attributes(model, ATTRIBUTES)
    save_reward_model(model, tokenizer, tmp_path, prepare_model(model), verify=False)
    assert all(found.passed for found in verify_folder(tmp_path))


def test_a_folder_without_its_contract_is_refused_with_what_is_missing(tmp_path):
    folder = save_rated(tmp_path / "rated")
    (folder / "scoring_contract.json").unlink()
    with pytest.raises(CheckpointError, match=r"2 labels.*scoring_contract\.json"):
        RewardModel.from_pretrained(str(folder))


def test_heads_of_ratings_and_ensembles_do_not_mix():
    model, _ = tiny_models.qwen2()
    install_heads(model, 2)
    with pytest.raises(ConfigError, match="ensemble"):
        install_attributes(model, ATTRIBUTES)
    model, _ = tiny_models.qwen2()
    install_attributes(model, ATTRIBUTES)
    with pytest.raises(ConfigError, match="rewardsmith export"):
        install_heads(model, 2)
