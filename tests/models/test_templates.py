"""A chat template is a program of the checkpoint's: it ends where the score is read, knows no date, and cannot hang."""

import threading
import time

import pytest
import tiny_models

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models import templates
from rewardsmith.models.templates import count_lost_texts, count_same_tokens
from rewardsmith.models.tokenizer import end_template, fix_date
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

CHAT = [{"role": "user", "content": "is"}, {"role": "assistant", "content": "good"}]


def tokenizer_with(template):
    tokenizer = tiny_models.qwen_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    "template",
    [
        "Today: {{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}",
        '{% set today = strftime_now("%Y-%m-%d") %}{{ today }} {{ strftime_now("%A") }}',
        "{% if strftime_now is defined %}{% set d = strftime_now('%d %b %Y') %}{{ d }}{% endif %}",
        "{% set f = '%Y' %}{{ strftime_now(f) }}",
    ],
)
def test_a_template_that_writes_todays_date_writes_one_date_for_ever(template, monkeypatch):
    from transformers.utils import chat_template_utils

    tokenizer = tokenizer_with(template)
    (note,) = fix_date(tokenizer)
    assert "writes today's date" in note
    before = templates.apply_template(tokenizer, CHAT)
    assert "2024" in before
    assert time.strftime("%Y") not in before

    class Tomorrow(chat_template_utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 1)

    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    assert templates.apply_template(tokenizer, CHAT) == before
    assert fix_date(tokenizer) == []


def test_the_date_stays_fixed_inside_a_template_that_was_made_to_end_right():
    tokenizer = tokenizer_with("{{ strftime_now('%d %b %Y') }} {{ messages[0].content }} {{ messages[-1].content }}\n")
    end_template(tokenizer)
    fix_date(tokenizer)
    assert templates.apply_template(tokenizer, CHAT) == "26 Jul 2024 is good<|im_end|>"


def test_a_template_that_loops_is_stopped(monkeypatch):
    monkeypatch.setattr(templates, "SECONDS_PER_TEMPLATE", 0.1)
    monkeypatch.setattr(templates, "_took_too_long", set())
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}"
    with pytest.raises(ScoringError, match=r"the chat template took over 0\.1 s"):
        templates.apply_template(tokenizer_with(loops), CHAT)


def test_a_template_that_took_too_long_once_has_less_time_from_then_on(monkeypatch):
    monkeypatch.setattr(templates, "SECONDS_PER_TEMPLATE", 0.1)
    monkeypatch.setattr(templates, "SECONDS_AFTER_THAT", 0.05)
    monkeypatch.setattr(templates, "_took_too_long", set())
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}"
    for seconds in ("0.1", "0.05", "0.05"):
        with pytest.raises(ScoringError, match=rf"took over {seconds} s"):
            templates.apply_template(tokenizer_with(loops), CHAT)


def test_a_loop_in_another_thread_is_stopped_there_alone(monkeypatch):
    monkeypatch.setattr(templates, "SECONDS_PER_TEMPLATE", 0.1)
    monkeypatch.setattr(templates, "_took_too_long", set())
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}"
    found = []

    def render():
        try:
            templates.apply_template(tokenizer_with(loops), CHAT)
        except ScoringError as error:
            found.append(str(error))

    thread = threading.Thread(target=render)
    thread.start()
    good = tokenizer_with("{{ messages[0]['content'] }}")
    while thread.is_alive():
        assert templates.apply_template(good, CHAT) == "is"
    assert "took over" in found[0]


def test_a_template_that_writes_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(templates, "MAX_WRITTEN", 1000)
    with pytest.raises(ScoringError, match="it writes without end"):
        templates.apply_template(tokenizer_with("{% for i in range(5000) %}x{% endfor %}"), CHAT)


@pytest.mark.parametrize("template", ["{{ 1/0 }}", "{{ raise_exception('no') }}", "{% if %}", "{{ messages.a.b.c }}"])
def test_whatever_a_template_raises_is_one_line(template):
    with pytest.raises(ScoringError, match="refused a conversation of the roles user, assistant"):
        templates.apply_template(tokenizer_with(template), CHAT)


def test_a_template_without_a_place_for_the_system_says_what_to_do():
    told = [{"role": "system", "content": "be short"}, *CHAT]
    with pytest.raises(ScoringError, match="write a system text into the first user message"):
        templates.apply_template(tokenizer_with("{{ raise_exception('System role not supported') }}"), told)


@pytest.mark.parametrize(
    "name", ["chat_template", "tokenize", "max_length", "tools", "eos_token", "bos_token", "add_generation_prompt"]
)
def test_a_row_sets_no_argument_that_leaves_the_models_rule(name):
    with pytest.raises(ScoringError, match=f"may not hold {name}"):
        templates.apply_template(tokenizer_with("{{ messages[0].content }}"), CHAT, None, {name: "{{ 1 }}"})


def test_a_row_may_say_that_its_answer_is_not_left_open():
    text = templates.apply_template(
        tokenizer_with("{{ messages[0].content }}"), CHAT, None, {"add_generation_prompt": False}
    )
    assert text == CHAT[0]["content"]


def test_marks_of_a_template_with_a_default_system_prompt_know_its_texts_with_another():
    default = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    tokenizer = tokenizer_with(default + tiny_models.CHATML)
    marks = templates.template_marks(tokenizer)
    assert marks.starts == ("<|im_start|>system\n",)
    assert (marks.end, marks.writes_bos) == ("<|im_end|>\n", False)


def test_a_template_that_drops_the_answer_has_no_marks():
    assert templates.template_marks(tokenizer_with("{{ messages[0].content }}")) is None
    assert templates.template_marks(tokenizer_with(None)) is None


def test_templates_go_by_name_or_file(tmp_path):
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    tokenizer = tiny_models.llama_tokenizer()
    assert templates.named_template(str(tmp_path / "mine.jinja"), tokenizer) == "{{ messages }}"
    tokenizer.chat_template = templates.named_template("plain", tokenizer)
    assert templates.apply_template(tokenizer, CHAT) == "<s>\n\nHuman: is\n\nAssistant: good</s>"
    with pytest.raises(ConfigError, match="none of plain, chatml"):
        templates.named_template("alpaca", tokenizer)


GROUP = PreferenceGroup("q", ("A", "a", "b"), (Comparison(0, 1), Comparison(0, 2), Comparison(1, 1)))


def test_only_comparisons_of_different_texts_with_equal_ids_count():
    assert count_same_tokens(GROUP, [[1], [1], [2]]) == 1
    assert count_same_tokens(GROUP, [[1], [3], [2]]) == 0


def test_an_answer_counts_when_a_part_of_it_is_missing_and_blanks_do_not():
    parts = (Message("assistant", [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),)
    group = PreferenceGroup("q", (" A \n", parts, TokenIds((1, 2))))
    assert count_lost_texts(group, ["q: A", "one and two", ""]) == 0
    assert count_lost_texts(group, ["q: ", "one", ""]) == 2
