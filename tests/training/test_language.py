"""A language model on the texts of preference data."""

import json

import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardsmith import RewardConfig, RewardTrainer
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.models.rendering import Renderer
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.language import RowCollator, encode_texts, train_language

GROUPS = [PreferenceGroup("what is it? ", ("good", "bad", "good")), PreferenceGroup("and this? ", ("fine",))]


def settings(tmp_path, **changes):
    options = {"use_cpu": True, "report_to": "none", "max_steps": 3, "gradient_checkpointing": False}
    return RewardConfig(str(tmp_path / "out"), **{**options, "disable_tqdm": True, **changes})


def test_every_distinct_text_is_a_row_cut_at_its_limit():
    renderer = Renderer(tiny_models.qwen_tokenizer())
    rows = encode_texts(GROUPS, renderer, None)
    assert rows == [renderer.encode(g.prompt, c) for g in GROUPS for c in dict.fromkeys(g.completions)]
    assert max(map(len, encode_texts(GROUPS, renderer, 3))) == 3


def test_texts_of_one_token_train_nothing():
    with pytest.raises(DataError, match="no text of two tokens"):
        encode_texts(GROUPS, Renderer(tiny_models.qwen_tokenizer()), 1)


def test_padding_has_no_label():
    batch = RowCollator(9)([{"input_ids": [1, 2, 9]}, {"input_ids": [3]}])
    assert batch["input_ids"].tolist() == [[1, 2, 9], [3, 9, 9]]
    assert batch["labels"].tolist() == [[1, 2, 9], [3, -100, -100]]


def test_a_reward_model_starts_from_what_it_leaves(tmp_path):
    model = ModelConfig(from_config="tiny", tokenizer_vocab_size=300)
    train_language(model, settings(tmp_path, learning_rate=1e-3), GROUPS)
    folder = tmp_path / "out"
    assert json.loads((folder / "language.json").read_text())["texts"] == 3
    language = AutoModelForCausalLM.from_pretrained(folder)
    assert language.config.tie_word_embeddings
    reward = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    for name, value in language.model.state_dict().items():
        assert torch.equal(value, reward.model.state_dict()[name]), name


def test_training_lowers_the_loss(tmp_path):
    model = ModelConfig(from_config="tiny", tokenizer_vocab_size=300)
    train_language(model, settings(tmp_path, max_steps=12, learning_rate=5e-3, logging_steps=1), GROUPS)
    losses = [r["loss"] for r in json.loads((tmp_path / "out" / "language.json").read_text())["history"] if "loss" in r]
    assert losses[-1] < 0.7 * losses[0]


def test_an_adapter_is_left_to_later_stages(tmp_path):
    with pytest.raises(ConfigError, match="trains every weight"):
        train_language(ModelConfig(model_name_or_path="x", use_peft=True), settings(tmp_path), GROUPS)


def test_a_token_head_that_the_classifier_lost_is_refused(tmp_path):
    made, tokenizer = tiny_models.qwen2()
    made.config.tie_word_embeddings = False
    with pytest.raises(ConfigError, match=r"lm_loss_coefficient has no token head to read: .* of its own"):
        RewardTrainer(
            made,
            settings(tmp_path, lm_loss_coefficient=1.0),
            train_dataset=[{"prompt": "a ", "chosen": "good", "rejected": "bad"}],
            processing_class=tokenizer,
        )
