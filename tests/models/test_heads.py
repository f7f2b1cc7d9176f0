"""A head that is new is drawn as asked; one that is there is kept; one that cannot give one reward is refused."""

import pytest
import tiny_models
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.models import heads


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    model, tokenizer = tiny_models.qwen2_causal()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_normal_head_has_the_spread_of_its_width():
    head = nn.Linear(4000, 1)
    heads.initialise_head(head, "normal")
    assert head.weight.std().item() == pytest.approx(4001**-0.5, rel=0.05)
    assert head.bias.item() == 0


def test_a_zero_head_gives_zero_and_keep_changes_nothing():
    head = nn.Linear(8, 1)
    before = head.weight.detach().clone()
    heads.initialise_head(head, "keep")
    assert torch.equal(head.weight, before)
    heads.initialise_head(head, "zero")
    assert head(torch.ones(8)).item() == 0


def test_only_the_last_layer_of_a_deep_head_is_drawn():
    head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    first = head[0].weight.detach().clone()
    heads.initialise_head(head, "zero")
    assert torch.equal(head[0].weight, first)
    assert head[2].weight.abs().max().item() == 0


def test_a_language_model_gets_a_new_head_and_says_so(language_model):
    model, notes = heads.load_sequence_classifier(language_model, head_init="zero")
    assert model.score.weight.abs().max().item() == 0
    assert notes == [f"{language_model} has no reward head; a new one was initialised (zero)"]


def test_a_head_that_was_saved_is_kept(tmp_path):
    model, _ = tiny_models.qwen2()
    model.save_pretrained(tmp_path)
    loaded, notes = heads.load_sequence_classifier(str(tmp_path), head_init="zero")
    assert torch.equal(loaded.score.weight, model.score.weight)
    assert notes == []


def test_mean_and_maximum_side_by_side_need_a_head_of_twice_the_width(language_model):
    model, notes = heads.load_sequence_classifier(language_model, pooling="mean_max", head_init="zero")
    assert model.score.in_features == 2 * model.config.hidden_size
    assert notes[-1] == "pooling='mean_max': a new head was initialised (zero)"


def test_a_classifier_of_several_labels_is_refused(tmp_path):
    model, _ = tiny_models.qwen2()
    config = model.config
    config.num_labels = 3
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="classifier with 3 labels"):
        heads.load_sequence_classifier(str(tmp_path))


def test_an_encoder_pools_in_its_own_way():
    model, _ = tiny_models.bert()
    assert heads.find_head(model) is model.classifier
    with pytest.raises(ConfigError, match="pools in its own way"):
        heads.with_pooling(model, "mean")


def test_a_checkpoint_that_lacks_weights_is_no_trained_model_and_training_names_them(tmp_path):
    model, _ = tiny_models.qwen2()
    lost = "model.layers.1.mlp.up_proj.weight"
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in model.state_dict().items() if k != lost})
    with pytest.raises(CheckpointError, match=f"lacks the weights {lost}; rewards would be random"):
        heads.load_trained(str(tmp_path), False, {})
    _, notes = heads.load_sequence_classifier(str(tmp_path))
    assert [note for note in notes if f"begin at random: {lost}" in note]
