"""Each fault is planted in a healthy tiny model, and the doctor must name it; without a fault it is silent."""

import pytest
import tiny_models
import torch
from peft import LoraConfig, get_peft_model

from rewardsmith.doctor import examine_loaded, worst
from rewardsmith.models.tokenizer import prepare_tokenizer


def healthy(name="qwen2"):
    """A model as a good training run leaves it."""
    model, tokenizer = getattr(tiny_models, name)()
    prepare_tokenizer(tokenizer, model)
    model.config.problem_type = "regression"
    head = getattr(model, "score", None) or model.classifier
    torch.nn.init.normal_(head.weight, std=0.4)
    if name == "llama":
        # As complete_folder saves it: the rendered text holds its BOS.
        from tokenizers.processors import Sequence

        tokenizer.backend_tokenizer.post_processor = Sequence([])
    return model.eval(), tokenizer


def found(model, tokenizer, check, **options):
    """The finding of a check; there is exactly one."""
    (finding,) = [f for f in examine_loaded(model, tokenizer, **options) if f.check == check]
    return finding


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
