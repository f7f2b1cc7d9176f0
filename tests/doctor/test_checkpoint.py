"""Each fault is planted in a healthy tiny model, and the doctor must name it; without a fault it is silent."""

import json

import pytest
import tiny_models
import torch
from healthy_models import by_check, edit, found, healthy, level
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from rewardsmith.doctor import examine, examine_loaded, worst
from rewardsmith.models.contract import read_contract
from rewardsmith.models.tokenizer import prepare_tokenizer


@pytest.mark.parametrize("name", ["qwen2", "llama", "bert"])
def test_a_healthy_model_is_all_green(name):
    torch.manual_seed(1)
    findings = examine_loaded(*healthy(name))
    assert [f for f in findings if f.level != "green"] == []
    assert all(not f.remedy for f in findings)


def test_nothing_is_changed_by_looking():
    model, tokenizer = tiny_models.qwen2()
    before, template = {k: v.clone() for k, v in model.state_dict().items()}, tokenizer.chat_template
    examine_loaded(model, tokenizer)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert (tokenizer.chat_template, tokenizer.padding_side) == (template, "right")


def test_pad_equal_to_eos_is_red_and_the_scored_token_is_shown():
    model, tokenizer = healthy()
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.eos_token_id
    assert found(model, tokenizer, "pad token").level == "red"
    scored = found(model, tokenizer, "scored token")
    assert scored.level == "red"
    assert "not the last token" in scored.message
    assert found(model, tokenizer, "EOS inside").level == "red"


def test_a_missing_pad_token_is_red():
    model, tokenizer = healthy()
    tokenizer.pad_token = None
    assert found(model, tokenizer, "pad token").level == "red"


@pytest.mark.parametrize("config_id", [None, 7])
def test_a_config_with_another_pad_token_is_red(config_id):
    model, tokenizer = healthy()
    model.config.pad_token_id = config_id
    finding = found(model, tokenizer, "pad token")
    assert finding.level == "red"
    assert "config.pad_token_id = 0" in finding.remedy


def test_a_template_that_ends_in_a_newline_is_red():
    model, tokenizer = healthy()
    tokenizer.chat_template = tiny_models.CHATML
    finding = found(model, tokenizer, "ending")
    assert finding.level == "red"
    assert repr("\n") in finding.message
    assert found(model, tokenizer, "scored token").level == "yellow"


def test_a_template_without_eos_is_red():
    model, tokenizer = healthy()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    assert "is missing" in found(model, tokenizer, "ending").message
    assert found(model, tokenizer, "ending").level == "red"


def test_eos_before_the_answer_and_none_after_it_is_red():
    model, tokenizer = healthy()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}<|im_end|>{% endif %}{% endfor %}"
    )
    finding = found(model, tokenizer, "EOS inside")
    assert finding.level == "red"
    assert "none ends the answer" in finding.message


def test_two_bos_in_the_text_are_red_and_a_tokenizer_that_would_add_one_is_yellow():
    model, tokenizer = healthy("llama")
    tokenizer.chat_template = "{{ bos_token }}" + tiny_models.LLAMA_TEMPLATE
    assert found(model, tokenizer, "double BOS").level == "red"
    model, tokenizer = tiny_models.llama()
    prepare_tokenizer(tokenizer, model)
    assert found(model, tokenizer, "double BOS").level == "yellow"


def test_a_missing_template_is_yellow_and_a_broken_one_red():
    model, tokenizer = healthy()
    tokenizer.chat_template = None
    assert found(model, tokenizer, "chat template").level == "yellow"
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}{% endfor %}<|im_end|>"
    assert "does not hold the answer" in found(model, tokenizer, "chat template").message
    tokenizer.chat_template = "{{ messages[5]['content'] }}"
    assert found(model, tokenizer, "chat template").level == "red"


def test_a_tokenizer_larger_than_the_embedding_is_red():
    model, tokenizer = healthy()
    tokenizer.add_tokens([f"word{i}" for i in range(200)])
    finding = found(model, tokenizer, "vocabulary")
    assert finding.level == "red"
    assert "420 rows" in finding.message


def test_a_lora_model_is_examined_through_its_adapter():
    model, tokenizer = healthy()
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"], r=2))
    assert worst(examine_loaded(adapted, tokenizer)) in ("green", "yellow")


def test_a_reward_model_whose_file_lost_its_head_is_red(copy_of):
    weights = load_file(copy_of / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, copy_of / "model.safetensors", {"format": "pt"})
    assert level("head saved", copy_of) == "red"


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear"])
def test_an_adapter_without_its_head_is_red(tmp_path, targets):
    causal, tokenizer = tiny_models.qwen2_causal()
    causal.save_pretrained(tmp_path / "base")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    adapted = get_peft_model(model, LoraConfig(target_modules=targets, r=2))
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    finding = by_check(examine(tmp_path / "adapter"))["head saved"]
    assert finding.level == "red"
    assert ("LoRA was put on the head" in finding.message) == (targets == "all-linear")


def test_weights_that_were_changed_break_the_golden_rewards(copy_of):
    weights = load_file(copy_of / "model.safetensors")
    weights["score.weight"] *= 1.1
    save_file(weights, copy_of / "model.safetensors", {"format": "pt"})
    assert level("golden rewards", copy_of) == "red"


def test_a_template_that_was_changed_after_saving_is_red(copy_of):
    (copy_of / "chat_template.jinja").write_text(tiny_models.CHATML)
    found = by_check(examine(copy_of))
    assert (found["ending"].level, found["contract"].level) == ("red", "red")


def test_another_rope_theta_is_red_although_short_texts_hardly_feel_it(copy_of):
    config = json.loads((copy_of / "config.json").read_text())
    rope = {**(config.get("rope_parameters") or {}), "rope_theta": 12345.0}
    edit(copy_of / "config.json", rope_parameters=rope, rope_theta=12345.0)
    finding = by_check(examine(copy_of))["contract"]
    assert (finding.level, "rope" in finding.message) == ("red", True)


def test_no_contract_is_yellow(copy_of):
    (copy_of / "scoring_contract.json").unlink()
    assert level("contract", copy_of) == "yellow"


def test_a_folder_that_is_no_model_is_one_red_line(tmp_path):
    (finding,) = examine(tmp_path)
    assert finding.level == "red"
    (finding,) = examine(tmp_path / "nowhere")
    assert "no such folder" in finding.message


def test_a_threshold_of_ties_that_nobody_fitted_is_yellow(copy_of):
    contract = read_contract(copy_of)
    assert "ties" not in by_check(examine(copy_of))
    contract.model_copy(update={"objective": {"loss_type": "davidson", "threshold": -1.2}}).save(copy_of)
    assert level("ties", copy_of) == "yellow"
    contract.model_copy(update={"tie_model": "davidson", "tie_threshold": -0.3}).save(copy_of)
    assert level("ties", copy_of) == "green"
