"""Judgements become columns of numbers: rows keep their names, labels are read by the one rule, keys know order."""

import numpy as np
import pytest

from rewardsmith.data.checks.judgement_table import JudgementTable, Lengths, RowNames, join_keys, prompt_key
from rewardsmith.records import Comparison, Message, PreferenceGroup

LENGTHS = Lengths(1, [1, 2], [2, 3], 1)


def table_of(*comparisons, prompt="q", texts=("a", "bb")):
    table = JudgementTable()
    table.add("pairs.jsonl:row 7", PreferenceGroup(prompt, texts, comparisons, source="s"), LENGTHS)
    return table


@pytest.mark.parametrize(
    "name", ["pairs.jsonl:row 12", "a:row 3:row 4", "no rows", "x:row 0", "dir/näme.jsonl:row 99999"]
)
def test_a_row_keeps_its_name(name):
    names = RowNames()
    assert [names.decode(number) for number in map(names.encode, (name, "other:row 1", name))] == [
        name,
        "other:row 1",
        name,
    ]


def test_keys_know_the_order_of_their_columns():
    one, two = np.array([1], dtype=np.uint64), np.array([2], dtype=np.uint64)
    assert join_keys(one, two)[0] != join_keys(two, one)[0]


def test_a_soft_label_turns_the_pair_and_weight_0_leaves_no_edge():
    turned = table_of(Comparison(0, 1, probability=0.25), Comparison(0, 1, weight=0.0)).edges()
    plain = table_of(Comparison(1, 0, probability=0.75)).edges()
    assert len(turned) == 1
    assert (turned.better, turned.probability) == (plain.better, plain.probability)
    assert (int(turned.longer[0]), bool(turned.first[0])) == (1, False)


def test_ties_and_equal_texts_have_no_direction():
    edges = table_of(Comparison(0, 1, "tie"), Comparison(1, 1), Comparison(0, 1, probability=0.5)).edges()
    assert edges.direction.tolist() == [0, 0, 0]
    assert edges.identical.tolist() == [False, True, False]


def test_the_pair_is_one_whichever_side_is_preferred_and_the_direction_tells_them_apart():
    edges = table_of(Comparison(0, 1), Comparison(1, 0)).edges()
    assert edges.pair[0] == edges.pair[1]
    assert sorted(edges.direction.tolist()) == [-1, 1]


def test_groups_of_one_prompt_share_a_key_and_those_without_one_never_merge():
    table = JudgementTable()
    asked = [table.add(f"f:row {i}", PreferenceGroup("q", ("a", "b")), LENGTHS) for i in range(2)]
    silent = [table.add(f"f:row {i}", PreferenceGroup("", ("a", "b")), LENGTHS) for i in range(2)]
    assert asked[0] == asked[1]
    assert silent[0][0] == silent[1][0]
    assert silent[0][1] != silent[1][1]


def test_tools_are_a_part_of_what_was_asked():
    chat = (Message("user", "q"),)
    assert prompt_key(PreferenceGroup(chat, ("a",))) != prompt_key(PreferenceGroup(chat, ("a",), tools=[{"name": "t"}]))
