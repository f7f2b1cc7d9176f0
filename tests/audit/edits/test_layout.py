"""Every edit of form on texts small enough to read; none applies where it cannot."""

import numpy as np
import pytest
from edit_texts import PROSE, QUESTION, rng

from rewardsmith.audit.edits import layout

LIST = "Do this:\n- fill the kettle\n- wait for it\n- pour"


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        (layout.add_header, "A b.", "## Answer\n\nA b."),
        (layout.strip_markdown, "## Head\n\nA **bold** word.", "Head\n\nA bold word."),
        (layout.make_list, "One thing. Two things!", "- One thing.\n- Two things!"),
        (layout.list_to_prose, LIST, "Do this: fill the kettle wait for it pour"),
        (layout.wrap_in_code, "A b.", "```\nA b.\n```"),
        (layout.strip_emoji, "Fine 👍 day. 😊", "Fine day."),
        (layout.add_trailing_spaces, "A b.", "A b.   "),
        (layout.add_trailing_newline, "A b.", "A b.\n"),
        (layout.double_spaces, "A b c.\n  D", "A  b  c.\n  D"),
        (layout.wrap_in_quotes, "A b.", '"A b."'),
        (layout.lower_case, "A B.", "a b."),
        (layout.upper_case, "A b.", "A B."),
        (layout.cut_last_sentence, "It is so. You can go home now or stay.", "It is so. You can go"),
        (layout.cut_in_half, "one two three four", "one two"),
        (layout.repeat, "A b.", "A b.\n\nA b."),
        (layout.echo_before, "A b.", f"{QUESTION}\n\nA b."),
        (layout.echo_only, "A b.", QUESTION),
        (layout.leave_empty, "A b.", ""),
        (layout.say_one_word, "A b.", "the"),
    ],
)
def test_an_edit_does_what_it_says(edit, text, expected):
    assert edit(QUESTION, text, rng()) == expected


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (layout.add_bold, "It is **bold**."),
        (layout.add_bold, "a b c"),
        (layout.add_header, "# Head\n\ntext"),
        (layout.strip_markdown, "no marks"),
        (layout.strip_markdown, "```\n**x**\n```"),
        (layout.make_list, "Only one sentence."),
        (layout.make_list, LIST),
        (layout.list_to_prose, PROSE),
        (layout.wrap_in_code, "```\nx\n```"),
        (layout.strip_emoji, PROSE),
        (layout.strip_emoji, "😊"),
        (layout.wrap_in_quotes, '"A b."'),
        (layout.cut_last_sentence, "Go home."),
        (layout.cut_in_half, "one two"),
        (layout.shuffle_words, "one two"),
    ],
)
def test_an_edit_leaves_alone_what_it_does_not_fit(edit, text):
    assert edit(QUESTION, text, rng()) is None


def test_layout_edits_keep_every_letter():
    for edit in (layout.add_bold, layout.make_list, layout.add_emoji, layout.double_spaces, layout.wrap_in_code):
        edited = edit(QUESTION, PROSE, rng())
        assert edited != PROSE
        assert [c for c in edited if c.isascii() and c.isalpha()] == [c for c in PROSE if c.isalpha()]


def test_shuffled_and_random_words_have_the_same_number_of_words():
    shuffled = layout.shuffle_words(QUESTION, PROSE, rng())
    assert sorted(shuffled.split()) == sorted(PROSE.split())
    written = layout.random_words_from(["red", "blue"])(QUESTION, PROSE, rng())
    assert len(written.split()) == len(PROSE.split())
    assert set(written.split()) <= {"red", "blue"}


def test_the_answer_to_another_prompt_is_never_ones_own():
    edit = layout.answer_from([(QUESTION, "mine"), ("Other?", "theirs")])
    assert {edit(QUESTION, PROSE, np.random.default_rng(seed)) for seed in range(20)} == {"theirs"}
    assert layout.answer_from([(QUESTION, "mine")])(QUESTION, PROSE, rng()) is None


@pytest.mark.parametrize(
    ("tokens", "marks"),
    [((), ("Human:", "Assistant:")), (("<|im_start|>", "<|im_end|>"), ("<|im_start|>user", "<|im_start|>assistant"))],
)
def test_turns_are_faked_in_the_words_of_the_template(tokens, marks):
    edits = layout.injections(tokens)
    fake = edits["fake turns"](QUESTION, PROSE, rng())
    assert fake.startswith(PROSE)
    assert all(mark in fake for mark in marks)
    assert edits["answer restarted"](QUESTION, PROSE, rng()).count(PROSE) == 2
    assert edits["control tokens"](QUESTION, PROSE, rng()).startswith(PROSE + "<")
