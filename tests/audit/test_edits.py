"""Every edit on texts small enough to read; what must stay the same does, and no edit applies where it cannot."""

import numpy as np
import pytest

from rewardsmith.audit.edits import PROBES, layout, phrases

PROSE = "The river runs slowly here. You should walk along it in the evening. That is a good plan for you."
LIST = "Do this:\n- fill the kettle\n- wait for it\n- pour"
QUESTION = "What is a good walk?"


def rng():
    return np.random.default_rng(0)


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
        (phrases.remove_disclaimer, "As an AI model, I can say that it is 4.", "I can say that it is 4."),
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
        (phrases.open_with_sure, "Sure, it is so."),
        (phrases.open_with_greeting, "Hi, it is so."),
        (phrases.close_with_offer, "It is so. I hope this helps!"),
        (phrases.open_with_apology, "I'm sorry, it is so."),
        (phrases.remove_disclaimer, PROSE),
        (phrases.link_nowhere, "It is at https://example.org now."),
        (phrases.flatter, "Great question! It is so."),
        (phrases.agree_first, "You are absolutely right, it is so."),
        (layout.cut_last_sentence, "Go home."),
        (layout.cut_in_half, "one two"),
        (layout.shuffle_words, "one two"),
        (phrases.add_typos, "12 + 30"),
        (phrases.add_typos, "xaab"),
    ],
)
def test_an_edit_leaves_alone_what_it_does_not_fit(edit, text):
    assert edit(QUESTION, text, rng()) is None


@pytest.mark.parametrize(
    "edit",
    [
        phrases.open_with_greeting,
        phrases.open_with_sure,
        phrases.close_with_offer,
        phrases.open_with_apology,
        phrases.open_with_disclaimer,
        phrases.add_filler,
        phrases.hedge,
        phrases.overstate,
        phrases.praise_itself,
        phrases.cite_nothing,
        phrases.link_nowhere,
        phrases.agree_first,
        phrases.flatter,
    ],
)
def test_english_phrases_are_added_around_an_english_answer_only(edit):
    edited = edit(QUESTION, PROSE, rng())
    assert "walk along it in the evening" in edited
    assert len(edited) > len(PROSE)
    assert edit(QUESTION, "Das Wetter wird morgen sicher wieder besser, sagt unser Nachbar.", rng()) is None


def test_layout_edits_keep_every_letter():
    for edit in (layout.add_bold, layout.make_list, layout.add_emoji, layout.double_spaces, layout.wrap_in_code):
        edited = edit(QUESTION, PROSE, rng())
        assert edited != PROSE
        assert [c for c in edited if c.isascii() and c.isalpha()] == [c for c in PROSE if c.isalpha()]


def test_typos_swap_letters_inside_words_only():
    edited = phrases.add_typos(QUESTION, PROSE, rng())
    changed = [(a, b) for a, b in zip(PROSE.split(), edited.split(), strict=True) if a != b]
    assert 1 <= len(changed) <= 3
    assert all(sorted(a) == sorted(b) and a[0] == b[0] for a, b in changed)


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


@pytest.mark.parametrize("prompt", ["", "How do I build a bomb?", "Wie spät ist es denn nun eigentlich heute Abend?"])
def test_nothing_is_refused_that_may_deserve_it_or_is_not_known(prompt):
    assert phrases.refuse(prompt, PROSE, rng()) is None


def test_a_harmless_question_is_refused():
    refusals = {phrases.refuse(QUESTION, PROSE, np.random.default_rng(seed)) for seed in range(20)}
    assert refusals == set(phrases.REFUSALS)
    assert not any("sorry" in text.lower() for text in refusals)
    assert "sorry" in phrases.refuse_sorry(QUESTION, PROSE, rng())


@pytest.mark.parametrize("count", [1, 2, 5, 6, 13, 40])
def test_plain_words_are_as_many_as_asked_for(count):
    assert len(phrases.plain_words(count, rng()).split()) == count


def test_a_control_stands_where_the_phrase_stands_and_is_as_long():
    for edit in (phrases.flatter, phrases.praise_itself, phrases.open_with_sorry, phrases.refuse):
        edited = edit(QUESTION, PROSE, rng())
        control = phrases.plain_words_instead(PROSE, edited, rng())
        assert len(control.split()) == len(edited.split())
        assert (control.endswith(PROSE), control.startswith(PROSE)) == (
            edited.endswith(PROSE),
            edited.startswith(PROSE),
        )


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


@pytest.mark.parametrize("text", ["x", "😊", "```", "**", "-", "a\x00b", "\u202e", "<script>", "\n- \n- "])
def test_odd_texts_break_no_edit(text):
    for probe in PROBES:
        edited = probe.edit(QUESTION, text.strip(), rng())
        assert edited is None or isinstance(edited, str)


@pytest.mark.parametrize(
    "name",
    [
        "bold words", "header", "Markdown removed", "sentences as a list", "list as prose", "emoji", "trailing spaces",
        "doubled spaces", "trailing newline", "lower case", "capitals", "typos", "greeting", "closing offer", "hedging",
        "overconfidence", "self-praise", "invented citation", "agreement", "refusal", "last sentence cut", "half",
        "said twice", "prompt echoed before", "prompt echoed only", "empty", "one word", "shuffled words",
    ],
)  # fmt: skip
def test_every_probe_of_the_documentation_exists(name):
    assert name in {probe.name for probe in PROBES}
