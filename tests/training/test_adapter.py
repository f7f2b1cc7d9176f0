"""Adapters: what does not fit is refused, and the caller's configuration stays his."""

import peft
import pytest
import tiny_models
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig
from small_runs import config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith import RewardModel, RewardTrainer
from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.plan import compute_rewards
from rewardsmith.scoring.answers import make_request
from rewardsmith.training.adapter import ModelConfig, peft_config, require_cuda


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


def test_of_several_adapters_the_one_that_is_saved_where_loaders_look_has_to_be_active(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    both = peft.get_peft_model(model, adapter)
    both.add_adapter("second", adapter)
    rows = Dataset.from_list(tiny_models.pairs(2))
    both.set_adapter("second")
    with pytest.raises(ConfigError, match="active adapter of the model is 'second'; the one that is trained and saved"):
        RewardTrainer(both, config(tmp_path), train_dataset=rows, tokenizer=tokenizer)
    both.set_adapter("default")
    RewardTrainer(both, config(tmp_path), train_dataset=rows, tokenizer=tokenizer)


def test_the_configuration_of_a_saved_adapter_trains_a_new_one_and_stays_as_it_is(tmp_path, caplog):
    model, tokenizer = tiny_models.qwen2()
    saved = LoraConfig(target_modules=["q_proj"], inference_mode=True)
    rows = Dataset.from_list(tiny_models.pairs(2))
    trainer = RewardTrainer(model, config(tmp_path), train_dataset=rows, tokenizer=tokenizer, peft_config=saved)
    assert any("lora_" in name for name, weight in trainer.model.named_parameters() if weight.requires_grad)
    assert "a new adapter like it is trained" in caplog.text
    assert saved.inference_mode


@pytest.mark.parametrize(("family", "is_said"), [("llama", True), ("qwen2", False)])
def test_an_adapter_whose_base_pads_otherwise_is_to_be_merged_for_other_tools(tmp_path, caplog, family, is_said):
    model, tokenizer = getattr(tiny_models, family)()
    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    rows = Dataset.from_list(tiny_models.pairs(2))
    RewardTrainer(model, config(tmp_path), train_dataset=rows, tokenizer=tokenizer, peft_config=adapter)
    assert ("rewardsmith export" in caplog.text) is is_said


def test_an_adapter_that_pools_by_itself_is_to_be_merged_for_other_tools(tmp_path, caplog):
    model, tokenizer = tiny_models.qwen2()
    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    rows, args = Dataset.from_list(tiny_models.pairs(2)), config(tmp_path, pooling="mean")
    RewardTrainer(model, args, train_dataset=rows, tokenizer=tokenizer, peft_config=adapter)
    assert "cannot tell other tools of pooling='mean'" in caplog.text


HEADLESS = {**tiny_models.SIZES, "vocab_size": 420, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 2}


def headless_base(folder, **changes):
    """Save a language model of a family that transformers has no reward head for; returns its folder."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["granite"](**HEADLESS, **changes))
    for part in (model, tiny_models.qwen_tokenizer()):
        part.save_pretrained(folder)
    return str(folder)


def test_an_adapter_under_our_own_head_is_saved_merged_and_trained_on_without_permission(tmp_path, caplog):
    base, adapter = headless_base(tmp_path / "base"), LoraConfig(r=2, target_modules="all-linear")
    saved_with(tmp_path, adapter, base)
    assert "transformers has no reward head for granite" in caplog.text
    first = rewards_of(tmp_path / "out0")
    assert rewards_of(tmp_path / "out0" / "merged") == pytest.approx(first, abs=1e-5)
    caplog.clear()
    saved_with(tmp_path, adapter, str(tmp_path / "out0" / "merged"), seed=1)
    assert "no reward head" not in caplog.text
    second = rewards_of(tmp_path / "out1")
    assert rewards_of(tmp_path / "out1" / "merged") == pytest.approx(second, abs=1e-5)
    assert second != pytest.approx(first, abs=1e-3)


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


TARGETS = ["q_proj", "v_proj"]
KINDS = {
    "LoRA": LoraConfig(r=2, target_modules=TARGETS),
    "DoRA": LoraConfig(r=2, target_modules=TARGETS, use_dora=True),
    "rsLoRA": LoraConfig(r=2, target_modules=TARGETS, use_rslora=True),
    "VeRA": peft.VeraConfig(r=4, target_modules=["q_proj"]),
    "IA3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "OFT": peft.OFTConfig(oft_block_size=8, r=0, target_modules=TARGETS),
    "LoHa": peft.LoHaConfig(r=2, target_modules=TARGETS),
    "LoKr": peft.LoKrConfig(r=2, target_modules=TARGETS),
}


def saved_with(folder, adapter, base=None, seed=0, family="qwen2", **changes):
    """Train an adapter of a saved base for two steps; returns its trainer."""
    if not (folder / "base").exists():
        for part in getattr(tiny_models, family)():
            part.save_pretrained(folder / "base")
    rows = Dataset.from_list(tiny_models.pairs(8, seed=seed))
    args = config(folder / f"out{seed}", max_steps=2, learning_rate=1e-2, save_merged=True, **changes)
    trainer = RewardTrainer(base or str(folder / "base"), args, train_dataset=rows, peft_config=adapter)
    trainer.train()
    trainer.save_model()
    return trainer


def rewards_of(path) -> list[float]:
    return RewardModel.from_pretrained(str(path)).score("good question", [" a fine answer", " awful"])


# They go the ways of LoRA or VeRA through our code, and are tried among the slow tests.
ALIKE = ("DoRA", "rsLoRA", "IA3", "OFT", "LoHa", "LoKr")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in ALIKE else kind for kind in KINDS]
)
def test_every_kind_of_adapter_is_trained_with_its_head_saved_and_merged(tmp_path, kind):
    trainer = saved_with(tmp_path, KINDS[kind])
    trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert any("score" in name for name in trained)
    assert any("score" not in name for name in trained)
    alone = rewards_of(tmp_path / "out0")
    assert rewards_of(tmp_path / "out0" / "merged") == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("targets", ["all-linear", ["query", "value"]])
def test_an_adapter_of_an_encoder_keeps_the_encoders_own_head(tmp_path, targets):
    adapter = LoraConfig(r=2, target_modules=targets)
    trainer = saved_with(tmp_path, adapter, family="bert")
    scored = rewards_of(tmp_path / "out0")
    texts = ["good question a fine answer", "good question awful"]
    with torch.no_grad():
        ids = trainer.processing_class(texts, return_tensors="pt", padding=True)
        trained = trainer.model.eval()(**ids).logits[:, 0].tolist()
    assert scored == pytest.approx(trained, abs=1e-5)
    assert rewards_of(tmp_path / "out0" / "merged") == pytest.approx(scored, abs=1e-5)


def test_an_adapter_keeps_the_pooler_that_its_base_lacks(tmp_path):
    """A masked language model has none; a new one that is not saved is random at every load."""
    settings = BertConfig(**tiny_models.SIZES, vocab_size=40, max_position_embeddings=512, pad_token_id=0)
    for part in (BertForMaskedLM(settings), tiny_models.bert_tokenizer()):
        part.save_pretrained(tmp_path / "base")
    args = config(tmp_path / "out", max_steps=1, verify_saved_model=True)
    adapter = LoraConfig(r=2, target_modules=["query"])
    trainer = RewardTrainer(
        str(tmp_path / "base"), args, train_dataset=Dataset.from_list(tiny_models.pairs(4)), peft_config=adapter
    )
    trainer.train()
    trainer.save_model()
    rewards = [
        RewardModel.from_pretrained(str(tmp_path / name)).score("good", [" fine", " awful"])
        for name in ("out", "out/merged")
    ]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)


def test_an_adapter_in_bf16_autocast_is_saved_in_full_precision(tmp_path):
    saved_with(tmp_path, KINDS["LoRA"], bf16=True)
    assert rewards_of(tmp_path / "out0" / "merged") == pytest.approx(rewards_of(tmp_path / "out0"), abs=1e-5)


def test_several_adapters_on_one_base_score_each_as_alone(tmp_path):
    for seed in (0, 1):
        saved_with(tmp_path, KINDS["LoRA"], seed=seed)
    alone = [rewards_of(tmp_path / f"out{seed}") for seed in (0, 1)]
    assert alone[0] != pytest.approx(alone[1], abs=1e-4)
    loaded = RewardModel.from_pretrained(str(tmp_path / "out0"))
    ids = [loaded.encode(make_request("good question", [" a fine answer", " awful"]))]
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    both = peft.PeftModel.from_pretrained(base, tmp_path / "out0", adapter_name="first")
    both.load_adapter(tmp_path / "out1", adapter_name="second")
    for name, wanted in zip(("first", "second", "first"), (*alone, alone[0]), strict=True):
        both.set_adapter(name)
        assert compute_rewards(both, ids)[0] == pytest.approx(wanted, abs=1e-5)


def test_a_saved_adapter_is_trained_on_and_a_second_one_over_it_is_refused(tmp_path):
    saved_with(tmp_path, KINDS["LoRA"])
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "out0", is_trainable=True)
    rows = Dataset.from_list(tiny_models.pairs(8, seed=1))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out0")
    with pytest.raises(ConfigError, match="merge it first"):
        RewardTrainer(
            adapted, config(tmp_path / "x"), train_dataset=rows, tokenizer=tokenizer, peft_config=LoraConfig()
        )
    args = config(tmp_path / "more", max_steps=2, learning_rate=1e-2)
    trainer = RewardTrainer(adapted, args, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    assert rewards_of(tmp_path / "more") != pytest.approx(rewards_of(tmp_path / "out0"), abs=1e-4)


def test_adalora_whose_ranks_nobody_would_allocate_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="after every step"):
        trainer_with(tmp_path, peft.AdaLoraConfig(total_step=4, target_modules=TARGETS))


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_a_quantised_base_without_cuda_is_refused(monkeypatch, bits):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        require_cuda(ModelConfig(use_peft=True, **{bits: True}))


@pytest.mark.slow
def test_an_adapter_is_trained_on_the_merged_model_of_another(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    rows, folders = tiny_models.pairs(8), [tmp_path / name for name in ("base", "first", "second", "third")]
    for start, folder, merged in zip(folders, folders[1:], (True, False, False), strict=False):
        args = config(folder, learning_rate=0.01, save_merged=merged, verify_saved_model=True)
        trainer = RewardTrainer(str(start), args, train_dataset=rows, peft_config=adapter)
        trainer.train()
        trainer.save_model()
    # The first brings its merged model; that of the second is written beside the third.
    names = [peft.PeftConfig.from_pretrained(folder).base_model_name_or_path for folder in folders[1:]]
    assert names == [str(folders[0]), str(folders[1] / "merged"), str(folders[3] / "merged-base")]
    texts = [row["chosen"] for row in rows]
    second = RewardModel.from_pretrained(str(folders[2])).score("p", texts)
    assert RewardModel.from_pretrained(names[2]).score("p", texts) == pytest.approx(second, abs=1e-5)
    third = RewardModel.from_pretrained(str(folders[3])).score("p", texts)
    assert max(abs(a - b) for a, b in zip(third, second, strict=True)) > 1e-3


@pytest.mark.parametrize(
    ("given", "read"),
    [(["q_proj"], {"q_proj"}), (["all-linear"], "all-linear"), ([".*q_proj"], ".*q_proj"), (["a", "b"], {"a", "b"})],
)
def test_one_target_is_the_name_of_a_module_or_a_pattern(given, read):
    assert peft_config(ModelConfig(use_peft=True, lora_target_modules=given)).target_modules == read
