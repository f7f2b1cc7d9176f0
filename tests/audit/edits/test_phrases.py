"""Every edit of words on texts small enough to read; none applies where it cannot."""

import numpy as np
import pytest
from edit_texts import PROSE, QUESTION, rng

from rewardsmith.audit.edits import phrases


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        (phrases.remove_disclaimer, "As an AI model, I can say that it is 4.", "I can say that it is 4."),
    ],
)
def test_an_edit_does_what_it_says(edit, text, expected):
    assert edit(QUESTION, text, rng()) == expected


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (phrases.open_with_sure, "Sure, it is so."),
        (phrases.open_with_greeting, "Hi, it is so."),
        (phrases.close_with_offer, "It is so. I hope this helps!"),
        (phrases.open_with_apology, "I'm sorry, it is so."),
        (phrases.remove_disclaimer, PROSE),
        (phrases.link_nowhere, "It is at https://example.org now."),
        (phrases.flatter, "Great question! It is so."),
        (phrases.agree_first, "You are absolutely right, it is so."),
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


def test_typos_swap_letters_inside_words_only():
    edited = phrases.add_typos(QUESTION, PROSE, rng())
    changed = [(a, b) for a, b in zip(PROSE.split(), edited.split(), strict=True) if a != b]
    assert 1 <= len(changed) <= 3
    assert all(sorted(a) == sorted(b) and a[0] == b[0] for a, b in changed)


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
