"""Data through a tokenizer and a model: what template and tokenizer erase, and what they write twice."""

from dataclasses import replace
from types import SimpleNamespace

import healthy_runs
import pytest
import tiny_models

from rewardsmith.doctor import examine
from rewardsmith.doctor.data_with_model import (
    check_agreement_with_labels,
    check_length_loss,
    check_special_tokens,
    check_what_the_template_keeps,
)
from rewardsmith.doctor.subject import Subject
from rewardsmith.models.rendering import Renderer
from rewardsmith.records import Comparison, Message, PreferenceGroup

PLAIN = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
LAST_PART = PLAIN.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}")


def said(text):
    return (Message("assistant", text),)


def group(chosen, rejected):
    return PreferenceGroup((Message("user", "question"),), (said(chosen), said(rejected)), (Comparison(0, 1),))


def subject_of(groups, template=PLAIN):
    _, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = template
    return Subject(None, tokenizer, None, Renderer(tokenizer), groups=groups)


def by_check(findings):
    return {finding.check: finding for finding in findings}


def test_sides_that_become_the_same_tokens_are_counted():
    groups = [group("<think>good</think>yes", "<think>bad</think>yes")] * 3 + [group("good answer", "bad answer")] * 7
    found = by_check(check_what_the_template_keeps(subject_of(groups, LAST_PART)))
    assert found["same tokens"].message.startswith("3 of 10 comparisons")
    assert found["whole answers"].message.startswith("the text of 6 of 20 answers")
    assert (found["same tokens"].level, found["whole answers"].level) == ("red", "red")


def test_a_template_that_writes_all_of_it_is_green_and_equal_texts_are_no_erasure():
    found = by_check(check_what_the_template_keeps(subject_of([group("good", "bad"), group("good", "good")])))
    assert [finding.level for finding in found.values()] == ["green"]


@pytest.mark.parametrize("text", ["good<|im_end|>", "good<|im_end|> answer"])
def test_eos_at_the_end_of_a_message_or_inside_it_is_found(text):
    finding = check_special_tokens(subject_of([group(text, "bad")] * 3 + [group("good", "bad")] * 3))
    assert (finding.level, finding.message.startswith("3 of 6 groups")) == ("red", True)


def test_a_plain_text_may_end_in_eos():
    plain = PreferenceGroup("question ", ("good<|im_end|>", "bad<|im_end|>"), (Comparison(0, 1),))
    assert check_special_tokens(subject_of([plain])).level == "green"


def test_a_tokenizer_with_more_ids_than_embeddings_loses_no_finding(copy_of, held_out):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(copy_of)
    tokenizer.add_tokens([f"word{number}" for number in range(3000)])
    tokenizer.save_pretrained(copy_of)
    content = [{"role": "assistant", "content": "good word2999"}]
    found = by_check(examine(copy_of, [{**row, "chosen": content} for row in held_out]))
    assert found["vocabulary"].level == "red"
    assert {"special tokens in texts", "length loss", "rows", "length bias"} <= found.keys()


def test_answers_cut_at_a_number_of_tokens_are_named(healthy_run):
    rows = healthy_runs.judged_rows(40, 3)
    long = [{"role": "assistant", "content": " ".join(["good", "answer"] * 40)}]
    other = [{"role": "assistant", "content": " ".join(["bad", "answer"] * 40)}]
    findings = examine(healthy_run, [{**row, "chosen": long, "rejected": other} for row in rows])
    assert any(f.check == "cut answers" and "tokens, the most" in f.message and f.level == "red" for f in findings)


def test_what_training_cut_is_no_loss_and_groups_that_are_not_scored_are_named():
    model, tokenizer = tiny_models.bert()
    renderer = Renderer(tokenizer)
    contract = SimpleNamespace(max_length=16, overflow="truncate_prompt", data_fingerprint="known")
    groups = [PreferenceGroup("question " * 600 * long, ("good", "bad"), (Comparison(0, 1),)) for long in (0, 0, 0, 1)]
    subject = Subject(model, tokenizer, model.config, renderer, contract=contract, groups=groups)
    loss = check_length_loss(subject)
    assert (loss.level, "the start of their prompts is cut" in loss.message) == ("green", True)
    (agreed,) = check_agreement_with_labels(subject)
    assert "of 4 groups not scored: 1 longer than the 512 tokens that the model reads" in agreed.message

    asked = replace(subject, truncate_prompt=True, tokens_per_batch=700)
    (agreed,) = check_agreement_with_labels(asked)
    assert "not scored" not in agreed.message


def test_cutting_that_was_asked_for_is_no_loss_of_length():
    model, tokenizer = tiny_models.bert()
    groups = [PreferenceGroup("question " * 600, ("good", "bad"), (Comparison(0, 1),))] * 3
    subject = Subject(model, tokenizer, model.config, Renderer(tokenizer), groups=groups)
    assert check_length_loss(subject).level == "red"
    loss = check_length_loss(replace(subject, truncate_prompt=True))
    assert (loss.level, "cut, as was asked" in loss.message) == ("green", True)
