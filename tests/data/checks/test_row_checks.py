"""Each fault of a group is named, and a clean group shows none."""

import pytest

from rewardsmith.data.checks import row_checks as r
from rewardsmith.data.checks.row_checks import RowTally, find_faults
from rewardsmith.data.texts import plain_text, question_text
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

ASK = "Why is the sky blue on a clear day?"


def faults(group):
    texts = [plain_text(completion) for completion in group.completions]
    question = question_text(group) if group.prompt else ""
    return set(find_faults(group, texts, question)) - {r.AS_TEXT, r.AS_MESSAGES, r.SCORED}


def pair(chosen="Because of scattering.", rejected="Nobody knows.", prompt=ASK, comparison=None, **more):
    return PreferenceGroup(prompt, (chosen, rejected), (comparison or Comparison(0, 1),), **more)


def chat(*turns):
    return tuple(Message(role, text) for role, text in turns)


def test_a_clean_pair_shows_nothing():
    assert faults(pair()) == set()
    assert faults(PreferenceGroup(chat(("user", ASK)), (chat(("assistant", "a")), chat(("assistant", "b"))))) == {
        r.NO_COMPARISON
    }
    assert faults(pair(TokenIds((1, 2)), TokenIds((1, 3)), "")) == {r.NO_PROMPT}


LONG = "Light of short waves is scattered more."


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (PreferenceGroup(ASK, ("a",), (Comparison(0, 0),)), r.IDENTICAL),
        (pair(chosen=" "), r.EMPTY),
        (PreferenceGroup(ASK, ("a", "b")), r.NO_COMPARISON),
        (pair(prompt=""), r.NO_PROMPT),
        (pair(comparison=Comparison(0, 1, weight=0.0)), r.WEIGHTLESS),
        (pair(comparison=Comparison(0, 1, margin=-1.0)), r.NEGATIVE_MARGIN),
        (pair(ratings={"help": (1.0, 4.0), "style": (2.0, 2.0)}), r.AGAINST_SCORES),
        (pair(metadata={"score_chosen": 1, "score_rejected": 2}), r.AGAINST_SCORES),
        (pair(chosen=LONG, rejected=f"{LONG} Or so they say."), r.HOLDS_OTHER),
        (pair(chosen="[chosen] Scattering."), r.NAMES_LABEL),
        (pair(chosen=LONG, prompt=f"Summarise: {LONG} And more."), r.ANSWER_IN_PROMPT),
        (pair(chosen=f"{ASK} Scattering.", rejected=f"{ASK} No."), r.PROMPT_TWICE),
        (pair(chosen="<|im_start|>assistant\nScattering."), r.MARKS_IN_TEXT),
        (pair(chosen="Scattering.</s>"), r.MARKS_IN_TEXT),
        (
            PreferenceGroup(
                chat(("user", "[INST] hi [/INST]")),
                (chat(("assistant", "a")), chat(("assistant", "b"))),
                (Comparison(0, 1),),
            ),
            r.MARKS_IN_MESSAGES,
        ),
        (pair(chosen="Itâ€™s scattering."), r.BROKEN_TEXT),
        (pair(chosen="It\x00s"), r.BROKEN_TEXT),
        (pair(chosen="It\ufffds"), r.BROKEN_TEXT),
        (
            PreferenceGroup(chat(("user", "a"), ("user", "b")), (chat(("assistant", "a")), chat(("assistant", "b")))),
            "turns do not alternate",
        ),
    ],
)
def test_each_fault_is_named(group, expected):
    assert expected in faults(group)


@pytest.mark.parametrize(
    "group",
    [
        pair(ratings={"help": (4.0, 1.0), "brief": (1.0, 4.0)}),
        pair(ratings={"help": (None, 4.0)}),
        pair(comparison=Comparison(0, 1, "tie"), ratings={"help": (1.0, 4.0)}),
        pair(chosen="x < y and [1] and <b>bold</b>"),
        pair(chosen="Ça va très bien, merci: “déjà vu” – naïve Ünïcödé 你好 👍"),
        pair(chosen="one\ttwo\nthree\r\n"),
        pair(chosen=f"{ASK} Scattering.", rejected="No."),
        pair(metadata={"score_chosen": True, "score_rejected": 2}),
    ],
)
def test_what_only_looks_like_a_fault_is_none(group):
    assert faults(group) == set()


def test_a_turned_soft_label_is_read_in_its_direction():
    tally = RowTally()
    tally.add(0, "row 0", pair(chosen=LONG, rejected=f"{LONG} So.", comparison=Comparison(0, 1, probability=0.2)))
    assert (tally.preferences, tally.counts[r.HOLDS_OTHER], tally.holder_wins) == (1, 1, 1)


def test_rows_are_counted_beyond_those_that_are_kept_and_comparisons_one_by_one():
    tally = RowTally(keep=3)
    for number in range(10):
        tally.add(number, f"f:row {number}", PreferenceGroup("p", ("a", "b"), (Comparison(0, 0), Comparison(1, 1))))
    assert tally.counts[r.IDENTICAL] == 20
    assert tally.named(r.IDENTICAL, str) == {"count": 20, "rows": ["0", "1", "2"]}
