"""Adapters: what does not fit is refused, and the caller's configuration stays his."""

import pytest
import tiny_models
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig
from small_runs import config

from rewardsmith import RewardTrainer
from rewardsmith.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["nope"]}, "its linear layers are .*q_proj"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["nope"]}, "no such module"),
        ({"target_modules": ["q_proj"], "r": 0}, "positive integer"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(tmp_path, options, message):
    model, tokenizer = tiny_models.qwen2()
    with pytest.raises(ConfigError, match=message):
        RewardTrainer(
            model,
            config(tmp_path),
            train_dataset=tiny_models.pairs(2),
            tokenizer=tokenizer,
            peft_config=LoraConfig(**options),
        )


@pytest.mark.parametrize(("family", "is_said"), [("llama", True), ("qwen2", False)])
def test_an_adapter_whose_base_pads_otherwise_is_to_be_merged_for_other_tools(tmp_path, caplog, family, is_said):
    model, tokenizer = getattr(tiny_models, family)()
    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    rows = Dataset.from_list(tiny_models.pairs(2))
    RewardTrainer(model, config(tmp_path), train_dataset=rows, tokenizer=tokenizer, peft_config=adapter)
    assert ("rewardsmith export" in caplog.text) is is_said


def trainer_with(tmp_path, adapter):
    model, tokenizer = tiny_models.qwen2()
    rows = Dataset.from_list(tiny_models.pairs(4))
    return RewardTrainer(model, config(tmp_path), train_dataset=rows, tokenizer=tokenizer, peft_config=adapter)


def test_one_configuration_serves_several_runs_and_is_not_changed(tmp_path):
    adapter = LoraConfig(target_modules=["q_proj"])
    before = adapter.to_dict()
    for _ in range(2):
        trainer = trainer_with(tmp_path, adapter)
        assert adapter.to_dict() == before
        assert any(p.requires_grad for p in trainer.model.get_base_model().score.parameters())


@pytest.mark.parametrize("name", ["lm_head", "classifier", "score"])
def test_the_head_names_of_others_are_taken(tmp_path, name):
    trainer = trainer_with(tmp_path, LoraConfig(target_modules=["q_proj"], modules_to_save=[name]))
    assert any(p.requires_grad for p in trainer.model.get_base_model().score.parameters())


def test_prompt_tuning_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ConfigError, match="puts learned tokens before every row"):
        trainer_with(tmp_path, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4))
