"""Templates that cut, drop or change what they are given are named; the templates of healthy models are not."""

import pytest
import tiny_models

from rewardsmith.doctor.subject import Subject
from rewardsmith.doctor.tokens import check_template_is_constant, check_whole_texts
from rewardsmith.models.rendering import Renderer

PLAIN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{% endfor %}"


def subject_with(template):
    _, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = template
    return Subject(None, tokenizer, None, Renderer(tokenizer))


@pytest.mark.parametrize(
    ("template", "level", "what"),
    [
        (PLAIN, "green", "whole"),
        (PLAIN.replace("{{ m['content'] }}", "{{ m['content'][:2000] }}"), "red", "long text"),
        (PLAIN.replace("{{ m['content'] }}", "{{ m['content'] | truncate(300) }}"), "red", "long text"),
        (PLAIN.replace("in messages", "in messages[-2:]"), "red", "earlier turns"),
        (PLAIN.replace("in messages", "in messages if m['role'] != 'system'"), "yellow", "system message"),
        (PLAIN.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}"), "yellow", "reasoning"),
        ("{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}" + PLAIN, "green", "whole"),
    ],
)
def test_a_template_that_drops_a_part_of_the_text_is_named(template, level, what):
    finding = check_whole_texts(subject_with(template))
    assert (finding.level, what in finding.message) == (level, True)


@pytest.mark.parametrize("time", ["{{ strftime_now('%d %b %Y') }}", "{% set f = '%H:%M' %}{{ strftime_now(f) }}"])
def test_a_template_that_writes_date_or_time_is_red(time):
    finding = check_template_is_constant(subject_with(time + PLAIN))
    assert (finding.level, "tomorrow" in finding.message) == ("red", True)


def test_a_template_that_could_write_the_time_but_does_not_is_green():
    fixed = "{% if today is not defined %}{% set today = '26 Jul 2024' %}{% endif %}{{ today }}"
    assert check_template_is_constant(subject_with(fixed + PLAIN)).level == "green"
    assert check_template_is_constant(subject_with(PLAIN)).level == "green"


def test_the_clock_is_put_back():
    from datetime import datetime

    from transformers.utils import chat_template_utils

    check_template_is_constant(subject_with("{{ strftime_now('%Y') }}" + PLAIN))
    assert chat_template_utils.datetime is datetime


def test_a_missing_template_is_not_looked_at():
    assert check_whole_texts(subject_with(None)) is None
    assert check_template_is_constant(subject_with(None)) is None
