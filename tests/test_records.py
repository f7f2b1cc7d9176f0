"""What a label says and when two prompts are one: the readings that everything else uses."""

import pytest

from rewardsmith.data.near import near_prompt_key
from rewardsmith.errors import DataError
from rewardsmith.records import (
    Comparison,
    Message,
    PreferenceGroup,
    graph_key,
    judgements,
    number_prompts,
    preferences,
    prompt_key,
    without_nulls,
)


def read(*edges: Comparison, completions=("a", "b", "c")):
    return [(j.better, j.worse, j.is_tie, j.probability) for j in judgements(PreferenceGroup("q", completions, edges))]


def test_weight_zero_does_not_count_and_other_weights_change_nothing():
    assert read(Comparison(0, 1, weight=0.0), Comparison(0, 1, weight=0.1)) == [(0, 1, False, 1.0)]


def test_a_soft_label_below_a_half_turns_the_pair():
    assert read(Comparison(0, 1, probability=0.25)) == [(1, 0, False, 0.75)]
    assert read(Comparison(0, 1, probability=0.0)) == [(1, 0, False, 1.0)]
    assert read(Comparison(0, 1, probability=0.75)) == [(0, 1, False, 0.75)]


def test_half_a_tie_and_identical_sides_prefer_nothing():
    edges = Comparison(0, 1, probability=0.5), Comparison(0, 1, "tie"), Comparison(1, 1), Comparison(0, 1, "tie", None)
    assert [row[2:] for row in read(*edges)] == [(True, 0.5)] * 4
    group = PreferenceGroup("q", ("a", "b"), edges)
    assert list(preferences(group)) == []


def test_a_judgement_keeps_its_edge_and_says_whether_it_is_soft():
    edge = Comparison(0, 1, annotator="me", probability=1.0)
    [one] = judgements(PreferenceGroup("q", ("a", "b"), (edge,)))
    assert one.comparison is edge
    assert one.is_soft
    [one] = judgements(PreferenceGroup("q", ("a", "b"), (Comparison(0, 1),)))
    assert not one.is_soft


def test_one_prompt_is_one_cluster_and_unknown_prompts_are_their_own():
    pair = Comparison(0, 1)
    told = "\n\nHuman: hi\n\nAssistant:"
    groups = [
        PreferenceGroup("q", ("a", "b"), (pair,)),
        PreferenceGroup("q", ("c", "d"), (pair,), tools=[{"name": "t"}]),
        PreferenceGroup("", ("a", "b"), (pair,)),
        PreferenceGroup("", ("a", "b"), (pair,)),
        PreferenceGroup("", (told + " yes", told + " no"), (pair,)),
        PreferenceGroup("", (told + " oh", told + " well"), (pair,)),
    ]
    assert number_prompts(groups) == [0, 0, 1, 2, 3, 3]
    assert prompt_key(groups[4]) == "\n\nHuman: hi"
    # Other tools are another input to the model, so the two never become one graph.
    assert graph_key(groups[0]) != graph_key(groups[1])


def test_near_keys_fold_case_width_and_punctuation_and_exact_keys_do_not():
    one, two = (PreferenceGroup(text, ("a", "b")) for text in ("What is it?", "what  is ｉｔ"))
    assert near_prompt_key(one) == near_prompt_key(two)
    assert prompt_key(one) != prompt_key(two)
    asked = PreferenceGroup((Message("user", "Why?"),), ("a", "b"))
    assert near_prompt_key(asked) == "user why"


@pytest.mark.parametrize("depth", [250, 900])
def test_tools_that_are_nested_without_end_are_an_error_of_their_row(depth):
    tool: object = 1
    for _ in range(depth):
        tool = {"a": [tool]} if depth == 250 else {"a": tool}
    with pytest.raises(DataError, match="200 deep"):
        without_nulls([tool])
