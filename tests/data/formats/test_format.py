"""Rows that we write read back as the same group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import llamafactory, rewardsmith, trainers
from rewardsmith.data.formats.pairs import conversations, to_tokenized_rows, to_trl_rows
from rewardsmith.data.formats.rankings import to_ranking_row, to_scores_row
from rewardsmith.data.formats.trainers import to_axolotl_rows, to_nemo_rows
from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
NUMBERS = st.floats(-1e6, 1e6)


@st.composite
def comparisons(draw, size, spanning=False):
    """Comparisons among `size` completions; `spanning` mentions them in order, so that merging keeps the order."""
    edges = [(i, i + 1) for i in range(size - 1)] if spanning else []
    extra = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=4))
    return tuple(
        Comparison(
            better,
            worse,
            draw(st.sampled_from(["better", "tie"])),
            draw(st.none() | NUMBERS),
            draw(st.floats(0, 10)),
            draw(st.none() | st.floats(0, 1)),
            draw(st.none() | TEXTS),
            draw(st.none() | st.just("2024-05-01")),
        )
        for better, worse in [*edges, *(e for e in extra if e[0] != e[1])]
    )


@st.composite
def groups(draw, conversational=None, spanning=True):
    """Groups as the readers give them: distinct completions, all text or all messages."""
    texts = draw(st.lists(TEXTS, min_size=2, max_size=4, unique=True))
    if conversational is None:
        conversational = draw(st.booleans())
    prompt = draw(TEXTS)
    sides = [(Message("assistant", t),) for t in texts] if conversational else texts
    source, name = draw(st.none() | TEXTS), draw(st.none() | TEXTS)
    return PreferenceGroup(
        (Message("user", prompt),) if conversational else prompt,
        tuple(sides),
        draw(comparisons(len(texts), spanning)),
        ratings=draw(st.just({}) | st.just({"help": tuple(float(i) for i in range(len(texts)))})),
        models=draw(st.just(()) | st.just(tuple(f"m{i}" for i in range(len(texts))))),
        source=source,
        group_id=name,
        tools=draw(st.none() | st.just(({"name": "f"},))),
        chat_template_kwargs=draw(st.none() | st.just({"thinking": True})),
        metadata=draw(st.just({}) | st.just({"lang": "de", "n": 3})),
    )


def same(left, right):
    """Equal in everything that a group says; the order of completions that follow from the rows included."""
    assert left == right


@given(groups())
def test_trl_rows_merge_back_into_the_group(group):
    rows = to_trl_rows(group)
    (merged,) = merge_groups([parse_row(row) for row in rows])
    same(merged, group)


@given(groups(spanning=False))
def test_our_own_row_is_lossless(group):
    same(parse_row(rewardsmith.write_row(group)), group)
    same(parse_row(rewardsmith.write_table_row(group)), group)


@given(groups())
def test_nemo_rows_hold_the_order_of_the_pairs(group):
    (merged,) = merge_groups([parse_row(row) for row in to_nemo_rows(group)])
    prompt, completions = conversations(group)
    assert (merged.prompt, merged.completions) == (prompt, tuple(completions))
    assert [(c.better, c.worse) for c in merged.comparisons] == [(c.better, c.worse) for c in group.comparisons]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_a_ranking_row_round_trips(ranks):
    group = parse_row({"prompt": "p", "completions": [f"c{i}" for i in range(len(ranks))], "ranks": ranks})
    assert parse_row(to_ranking_row(group)) == group


@given(st.lists(NUMBERS, min_size=2, max_size=6))
def test_a_scores_row_round_trips(scores):
    group = parse_row({"prompt": "p", "completions": [f"c{i}" for i in range(len(scores))], "scores": scores})
    assert parse_row(to_scores_row(group)) == group


@given(groups(conversational=True))
@pytest.mark.parametrize("write_rows", [llamafactory.write_rows, trainers.to_swift_rows])
def test_tool_rows_hold_prompt_and_sides(write_rows, group):
    (merged,) = merge_groups([parse_row(row) for row in write_rows(group)])
    assert (merged.prompt, merged.completions) == (group.prompt, group.completions)


def test_axolotl_holds_a_system_message_and_one_turn():
    prompt = (Message("system", "be brief"), Message("user", "q"))
    group = PreferenceGroup(prompt, ((Message("assistant", "a"),), (Message("assistant", "b"),)), (Comparison(1, 0),))
    (row,) = to_axolotl_rows(group)
    assert row == {"system": "be brief", "input": "q", "chosen": "b", "rejected": "a"}
    assert parse_row(row).prompt == prompt
    with pytest.raises(DataError, match="one user turn"):
        to_axolotl_rows(PreferenceGroup((*prompt, *prompt), group.completions, group.comparisons))


def test_token_rows_round_trip():
    group = PreferenceGroup("", (TokenIds([1, 2]), TokenIds([1, 3])), (Comparison(0, 1, margin=1.0),))
    (row,) = to_tokenized_rows(group)
    assert row == {"chosen_ids": [1, 2], "rejected_ids": [1, 3], "margin": 1.0}
    assert parse_row(row) == group
    assert parse_row(rewardsmith.write_row(group)) == group


def test_comparisons_that_are_no_ranking_are_refused():
    cycle = PreferenceGroup("p", ("a", "b", "c"), (Comparison(0, 1), Comparison(1, 2), Comparison(2, 0)))
    partial = PreferenceGroup("p", ("a", "b", "c"), (Comparison(0, 1),))
    soft = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1, probability=0.7),))
    for group in (cycle, partial, soft):
        with pytest.raises(DataError, match="not those of one complete ranking"):
            to_ranking_row(group)


def test_text_is_written_as_messages_on_request_only():
    group = PreferenceGroup("q", ("a", "b"), (Comparison(0, 1),))
    assert to_trl_rows(group) == [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    assert to_trl_rows(group, conversational=True)[0]["prompt"] == [{"role": "user", "content": "q"}]
    chat = parse_row(to_trl_rows(group, conversational=True)[0])
    with pytest.raises(DataError, match="chat template"):
        to_trl_rows(chat, conversational=False)
