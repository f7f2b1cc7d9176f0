"""Models and tokenizers that cannot be trained are refused with the remedy."""

import pytest
import tiny_models
from small_runs import config, trainer_for
from transformers import TrainingArguments

from rewardsmith import RewardTrainer
from rewardsmith.errors import ConfigError


def test_settings_of_another_library_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"not transformers\.TrainingArguments: import it from rewardsmith"):
        RewardTrainer(tiny_models.qwen2()[0], TrainingArguments(str(tmp_path)), train_dataset=tiny_models.pairs(2))


def test_a_folder_without_tokenizer_files_is_refused(tmp_path):
    tiny_models.qwen2()[0].save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"makes no tokens of a text; are its files \(tokenizer.json\) missing"):
        RewardTrainer(str(tmp_path / "model"), config(tmp_path), train_dataset=tiny_models.pairs(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_init_kwargs": [1]}, "model_init_kwargs must be a mapping"),
        ({"chat_template_path": "./none.jinja"}, "neither a Jinja file nor a tokenizer"),
    ],
)
def test_settings_that_the_model_cannot_take_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        trainer_for(tmp_path, tiny_models.pairs(2), **changes)


def test_an_encoder_with_a_decoder_is_refused_before_training(tmp_path):
    from transformers import T5Config, T5ForSequenceClassification

    settings = {"vocab_size": 420, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = T5ForSequenceClassification(T5Config(**settings, num_labels=1, decoder_start_token_id=0))
    with pytest.raises(ConfigError, match="T5ForSequenceClassification is an encoder with a decoder"):
        trainer_for(tmp_path, tiny_models.pairs(2), model=model)


@pytest.mark.parametrize(
    ("options", "refused"), [({"trust_remote_code": True, "num_labels": 1}, ""), ({"num_labels": 2}, "has 1")]
)
def test_the_options_of_trls_scripts_are_taken(tmp_path, options, refused):
    model, tokenizer = tiny_models.qwen2()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    if refused:
        with pytest.raises(ConfigError, match=refused):
            trainer_for(tmp_path, tiny_models.pairs(2), model=str(tmp_path / "base"), model_init_kwargs=options)
        return
    trainer = trainer_for(tmp_path, tiny_models.pairs(2), model=str(tmp_path / "base"), model_init_kwargs=options)
    assert trainer.args.trust_remote_code is True
