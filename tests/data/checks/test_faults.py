"""Each fault of a group is named, a clean group shows none; the level follows from the share, the page names all."""

import pytest

from rewardsmith.data.checks import faults as f
from rewardsmith.data.checks.checking import WORDS, to_plain
from rewardsmith.data.checks.faults import KINDS, RowTally, find_faults, make_finding
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.texts import question_text
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds


@pytest.mark.parametrize(
    ("kind", "count", "total", "level"),
    [
        (f.IDENTICAL, 4, 100, "warning"),
        (f.IDENTICAL, 5, 100, "error"),
        (f.AGAINST_SCORES, 24, 100, "warning"),
        (f.AGAINST_SCORES, 25, 100, "error"),
        (f.ON_BOTH_SIDES, 1, 10**6, "error"),
        (f.CIRCLE, 100, 100, "warning"),
    ],
)
def test_the_level_follows_from_the_share(kind, count, total, level):
    finding = make_finding(kind, count, total, rows=["a:row 1", "a:row 2"])
    assert WORDS[finding.level] == level
    assert to_plain(finding, 1) == {
        "kind": kind,
        "level": level,
        "count": count,
        "of": total,
        "unit": "rows",
        "meaning": KINDS[kind].meaning,
        "remedy": KINDS[kind].remedy,
        "rows": ["a:row 1"],
    }


def test_the_page_names_every_kind_with_its_limit(repository):
    page = (repository / "docs" / "data-check.md").read_text()
    for name, kind in KINDS.items():
        if kind.error_from == 0:
            assert f"`{name}`" in page
            continue
        limit = "-" if kind.error_from is None else f"{kind.error_from:.0%}"
        assert f"| `{name}`: {kind.meaning} | {limit} |" in page


ASK = "Why is the sky blue on a clear day?"


def faults(group):
    texts = [plain_text(completion) for completion in group.completions]
    question = question_text(group) if group.prompt else ""
    return set(find_faults(group, texts, question)) - {f.AS_TEXT, f.AS_MESSAGES, f.SCORED}


def pair(chosen="Because of scattering.", rejected="Nobody knows.", prompt=ASK, comparison=None, **more):
    return PreferenceGroup(prompt, (chosen, rejected), (comparison or Comparison(0, 1),), **more)


def chat(*turns):
    return tuple(Message(role, text) for role, text in turns)


def test_a_clean_pair_shows_nothing():
    assert faults(pair()) == set()
    assert faults(PreferenceGroup(chat(("user", ASK)), (chat(("assistant", "a")), chat(("assistant", "b"))))) == {
        f.NO_COMPARISON
    }
    assert faults(pair(TokenIds((1, 2)), TokenIds((1, 3)), "")) == {f.NO_PROMPT}


LONG = "Light of short waves is scattered more."


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (PreferenceGroup(ASK, ("a",), (Comparison(0, 0),)), f.IDENTICAL),
        (pair(chosen=" "), f.EMPTY),
        (PreferenceGroup(ASK, ("a", "b")), f.NO_COMPARISON),
        (pair(prompt=""), f.NO_PROMPT),
        (pair(comparison=Comparison(0, 1, weight=0.0)), f.WEIGHTLESS),
        (pair(comparison=Comparison(0, 1, margin=-1.0)), f.NEGATIVE_MARGIN),
        (pair(ratings={"help": (1.0, 4.0), "style": (2.0, 2.0)}), f.AGAINST_SCORES),
        (pair(metadata={"score_chosen": 1, "score_rejected": 2}), f.AGAINST_SCORES),
        (pair(chosen=LONG, rejected=f"{LONG} Or so they say."), f.HOLDS_OTHER),
        (pair(chosen="[chosen] Scattering."), f.NAMES_LABEL),
        (pair(chosen=LONG, prompt=f"Summarise: {LONG} And more."), f.ANSWER_IN_PROMPT),
        (pair(chosen=f"{ASK} Scattering.", rejected=f"{ASK} No."), f.PROMPT_TWICE),
        (pair(chosen="<|im_start|>assistant\nScattering."), f.MARKS_IN_TEXT),
        (pair(chosen="Scattering.</s>"), f.MARKS_IN_TEXT),
        (
            PreferenceGroup(
                chat(("user", "[INST] hi [/INST]")),
                (chat(("assistant", "a")), chat(("assistant", "b"))),
                (Comparison(0, 1),),
            ),
            f.MARKS_IN_MESSAGES,
        ),
        (pair(chosen="Itâ€™s scattering."), f.BROKEN_TEXT),
        (pair(chosen="It\x00s"), f.BROKEN_TEXT),
        (pair(rejected="nan"), f.NULL_TEXT),
        (pair(prompt="None"), f.NULL_TEXT),
        (pair(rejected='["Nobody knows.", "Magic."]'), f.LISTED),
        (pair(chosen="It\ufffds"), f.BROKEN_TEXT),
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
        pair(chosen="None of them.", rejected="null and void"),
        pair(chosen='["blue", "white"]', rejected="['red', 'black']"),
        pair(chosen=f"{ASK} Scattering.", rejected="No."),
        pair(metadata={"score_chosen": True, "score_rejected": 2}),
    ],
)
def test_what_only_looks_like_a_fault_is_none(group):
    assert faults(group) == set()


def test_a_turned_soft_label_is_read_in_its_direction():
    tally = RowTally()
    tally.add(0, "row 0", pair(chosen=LONG, rejected=f"{LONG} So.", comparison=Comparison(0, 1, probability=0.2)))
    assert (tally.preferences, tally.counts[f.HOLDS_OTHER], tally.holder_wins) == (1, 1, 1)


def test_rows_are_counted_beyond_those_that_are_kept_and_comparisons_one_by_one():
    tally = RowTally(keep=3)
    for number in range(10):
        tally.add(number, f"f:row {number}", PreferenceGroup("p", ("a", "b"), (Comparison(0, 0), Comparison(1, 1))))
    assert tally.counts[f.IDENTICAL] == 20
    assert tally.named(f.IDENTICAL, str) == {"count": 20, "rows": ["0", "1", "2"]}
