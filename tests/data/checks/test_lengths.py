"""Lengths, histograms, length bias and the saving, by hand."""

import math

import numpy as np
import pytest

from rewardsmith.data.checks.inspection import inspect_groups
from rewardsmith.data.checks.lengths import Distribution, TokenMeasure, WordMeasure, common_length
from rewardsmith.records import Comparison, Message, PreferenceGroup


def pair(prompt, chosen, rejected, *, outcome="better"):
    return PreferenceGroup(prompt, (chosen, rejected), (Comparison(0, 1, outcome),))


def letters(group):
    return [list(map(ord, str(group.prompt) + str(completion))) for completion in group.completions]


def inspect(groups, measure=None):
    return inspect_groups([(f"row {n}", group) for n, group in enumerate(groups)], measure)


def test_words_of_prompt_and_completions():
    found = WordMeasure().measure(pair("two words", "one", "now there are four"))
    assert (found.prompt, found.completions) == (2, [1, 4])
    assert (found.totals, found.shared) == ([12, 27], 9)


def test_whole_dialogues_are_measured_from_where_they_part():
    found = WordMeasure().measure(pair("", "Human: hi Assistant: yes", "Human: hi Assistant: no way"))
    assert (found.prompt, found.completions) == (3, [1, 2])
    assert found.shared == len("Human: hi Assistant: ")


def test_messages_count_their_contents():
    group = PreferenceGroup((Message("system", "a b"), Message("user", "c")), ((Message("assistant", "d e f"),), "g"))
    found = WordMeasure().measure(group)
    assert (found.prompt, found.completions) == (3, [3, 1])


def test_the_saving_of_a_ranking_is_exact_in_tokens():
    group = PreferenceGroup("pppp", ("aa", "bbb", "c"), (Comparison(0, 1), Comparison(1, 2), Comparison(0, 2)))
    saving = inspect([group], TokenMeasure(letters)).saving
    assert (saving.logical, saving.distinct) == (2 * (6 + 7 + 5), 4 + 2 + 3 + 1)
    assert saving.is_exact


def test_rows_of_one_prompt_share_it_and_what_their_answers_begin_with():
    rows = [pair("pppp", "xa", "xb"), pair("pppp", "xa", "yc")]
    saving = inspect(rows, TokenMeasure(letters)).saving
    assert saving.logical == 4 * 6
    assert saving.distinct == 4 + 3 * 2  # the first row alone shares five tokens, both together four
    rough = inspect(rows).saving
    assert (rough.unit, rough.logical, rough.distinct) == ("characters", 24, 10)


def test_a_sequence_that_another_begins_with_keeps_its_last_token():
    found = TokenMeasure(letters).measure(pair("p", "ab", "abcd"))
    assert (found.shared, found.completions) == (2, [1, 3])


def test_rows_with_an_empty_prompt_share_nothing_with_each_other():
    rows = [pair("", "same start a", "same start b"), pair("", "same start a", "same start c")]
    assert inspect(rows).saving.distinct == 2 * (len("same start ") + 2)


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [([], 0), ([[1, 2]], 2), ([[1, 2], [1, 2, 3]], 2), ([[1, 3], [1, 2], [1]], 1), (["", "a"], 0)],
)
def test_common_length(sequences, expected):
    assert common_length(sequences) == expected


def test_longer_wins_leaves_ties_and_equal_lengths_out():
    rows = [pair("p", "long", "s"), pair("q", "s", "long"), pair("r", "long", "s"), pair("s", "one", "two")]
    bias = inspect([*rows, pair("t", "long", "s", outcome="tie")]).bias
    assert (bias.longer_wins.value, bias.longer_wins.n, bias.equal) == (pytest.approx(2 / 3), 3, 1)


def test_a_soft_label_below_one_half_turns_the_pair():
    group = PreferenceGroup("p", ("long", "s"), (Comparison(0, 1, probability=0.1),))
    assert inspect([group]).bias.longer_wins.value == 0


def test_a_histogram_holds_everything_once_in_round_bins():
    lengths = np.array([*range(100), 5000], dtype=np.uint32)
    found = Distribution.of(lengths)
    assert sum(found.counts) == found.n == 101
    assert found.edges == list(range(0, 101, 10))
    assert found.counts[-1] == 11  # the 5000 is beyond the 99th percentile
    assert (found.quantiles["min"], found.quantiles["50%"], found.quantiles["max"]) == (0, 50, 5000)


def test_no_lengths_are_no_numbers():
    found = Distribution.of(np.zeros(0, dtype=np.uint32))
    assert math.isnan(found.mean)
    assert found.to_dict()["mean"] is None
    assert Distribution.of(np.zeros(3, dtype=np.uint32)).counts == [3]
