"""What the files of a checkpoint hold: the head, and the contract that describes them."""

import json

import pytest
import tiny_models
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from rewardsmith.doctor import examine


def by_check(findings):
    return {finding.check: finding for finding in findings}


def level(check, *arguments):
    return by_check(examine(*arguments))[check].level


def edit(path, **values):
    """Change keys of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


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
