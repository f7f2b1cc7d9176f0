"""Planted duplicates, contradictions and circles are found with their rows; their absence is seen."""

import numpy as np
import pytest

from rewardsmith.data.checks.agreement import JudgementTable, RowNames
from rewardsmith.data.checks.contradictions import (
    PromptPlaces,
    Tell,
    Tells,
    find_contradictions,
    find_cycles,
    find_duplicates,
    holds_whole,
    label_in,
    split_of,
)
from rewardsmith.data.checks.lengths import WordMeasure
from rewardsmith.records import Comparison, PreferenceGroup


def edges_of(*judgements):
    """Rows "prompt: better > worse" or "prompt: one = other", optionally with "by annotator" at the end."""
    table = JudgementTable()
    for number, text in enumerate(judgements, 1):
        prompt, rest = text.split(": ")
        rest, _, annotator = rest.partition(" by ")
        outcome = "tie" if "=" in rest else "better"
        one, other = rest.replace("=", ">").split(" > ")
        comparison = Comparison(0, 1, outcome, annotator=annotator or None)
        group = PreferenceGroup(prompt, (one, other), (comparison,))
        table.add(f"f.jsonl:row {number}", group, WordMeasure().measure(group))
    names = table.rows
    return table.edges(), lambda rows: [int(names.decode(int(row)).rpartition(" ")[2]) for row in rows]


def test_a_repeated_judgement_is_found_and_another_annotator_or_outcome_is_none():
    edges, rows = edges_of("p: a > b", "p: a > b", "p: b > a", "p: a = b", "q: a > b", "p: a > b by x", "p: a > b")
    found = find_duplicates(edges)
    assert found.count == 2
    assert (rows(found.rows), rows(found.first)) == ([2, 7], [1, 1])


def test_a_pair_judged_both_ways_is_found_and_ties_contradict_nothing():
    edges, rows = edges_of("p: a > b", "q: a > b", "p: b > a", "q: a = b", "r: b > a")
    found = find_contradictions(edges)
    assert (found.pairs, found.prompts, found.by_one) == (1, 1, 1)
    assert rows(found.rows) == [1, 3]
    assert [rows(pair) for pair in found.examples] == [[1, 3]]


def test_two_annotators_who_differ_are_not_one_who_contradicts_himself():
    edges, _ = edges_of("p: a > b by x", "p: b > a by y", "q: a > b by x", "q: b > a by x")
    found = find_contradictions(edges)
    assert (found.pairs, found.by_one) == (2, 1)


def test_a_circle_of_three_is_found_with_the_rows_that_close_it():
    edges, rows = edges_of("p: a > b", "q: a > b", "p: b > c", "q: b > c", "p: c > a", "q: a > c", "p: a > d")
    found = find_cycles(edges)
    assert (found.prompts, found.comparisons) == (1, 3)
    assert rows(found.rows) == [1, 3, 5]
    assert [rows(circle) for circle in found.examples] == [[1, 3, 5]]


def test_a_circle_over_two_prompts_is_none():
    edges, _ = edges_of("p: a > b", "p: b > c", "q: c > a")
    assert find_cycles(edges).prompts == 0


def test_a_pair_judged_both_ways_is_no_circle_and_a_majority_decides():
    edges, _ = edges_of("p: a > b", "p: b > a", "p: b > c", "p: c > a")
    assert find_cycles(edges).prompts == 0
    edges, rows = edges_of("p: b > a", "p: a > b", "p: a > b", "p: b > c", "p: c > a")
    assert [rows(circle) for circle in find_cycles(edges).examples] == [[2, 4, 5]]


def test_a_long_circle_and_a_chord_give_the_shortest_circle():
    edges, rows = edges_of("p: a > b", "p: b > c", "p: c > d", "p: d > e", "p: e > a", "p: c > a")
    found = find_cycles(edges)
    assert found.comparisons == 6
    assert [rows(circle) for circle in found.examples] == [[1, 2, 6]]


@pytest.mark.parametrize("seed", range(5))
def test_random_rankings_are_acyclic_until_one_edge_is_turned(seed):
    random = np.random.default_rng(seed)
    order = random.permutation(7)
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    rows = [f"p: {order[i]} > {order[j]}" for i, j in pairs]
    assert find_cycles(edges_of(*rows)[0]).prompts == 0
    rows[pairs.index((0, 6))] = f"p: {order[6]} > {order[0]}"
    assert find_cycles(edges_of(*rows)[0]).prompts == 1


def test_nothing_to_look_at_is_nothing_found():
    edges, _ = edges_of()
    assert find_duplicates(edges).count == 0
    assert find_contradictions(edges).pairs == 0
    assert find_cycles(edges).prompts == 0


def test_rows_of_any_name_come_back_as_they_were():
    names = RowNames()
    for where in ("a.jsonl:row 1", "b/c:row 7.jsonl:row 900000000", "conversation-17", "row 3", "a.jsonl:row 2"):
        assert names.decode(names.encode(where)) == where
    assert len(names.names) == 4


@pytest.mark.parametrize(
    "text",
    [
        "[CHOSEN] Paris is the capital.",
        "Rejected: Lyon is the capital.",
        "### Chosen response: Paris.",
        "<preferred>Paris.</preferred>",
        "Paris is the capital, and has been so since the year 508, with a few interruptions. (label: chosen)",
        "label=1 Paris.",
        "Paris. {rejected}",
    ],
)
def test_a_mark_at_either_end_is_found(text):
    assert label_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "I have chosen Paris.",
        "The rejected candidate (chosen by nobody) went home. " * 3,
        "Please read the label [1]",
        "Good: the loser takes nothing, and that is all there is to say about this matter, I think.",
        "",
    ],
)
def test_words_inside_an_answer_are_none(text):
    assert label_in(text) is None


def test_short_and_equal_answers_hold_nothing():
    long = "The tide follows the moon because of gravity, mostly."
    assert holds_whole(f"{long} It also follows the sun.", long)
    assert not holds_whole(long, long)
    assert not holds_whole("Yes, it is.", "Yes")


def test_a_word_that_only_preferred_sides_begin_with_tells_and_others_do_not():
    tells = Tells()
    for number in range(100):
        start = "Certainly!" if number % 2 else f"word{number}"
        tells.add(f"{start} a{number}", f"other{number} b{number}")
    assert tells.find() == [Tell("begins with", "Certainly!", 50, 1.0)]
    assert tells.find(share=0.6) == []


def test_a_word_on_both_sides_or_both_ways_tells_nothing():
    tells = Tells()
    for number in range(100):
        sides = (f"Well, {number}", f"Well, other {number}")
        tells.add(*sides)
        marked = (f"{number} so [end]", f"{number} no")
        tells.add(*(marked if number % 2 else marked[::-1]))
    assert [tell.mark for tell in tells.find()] == []


def test_marks_seen_once_are_forgotten_before_memory_grows():
    tells = Tells()
    tells.MOST_MARKS = 50
    for number in range(400):
        tells.add(f"Sure {number}", f"{number}x {number}y")
    assert len(tells._counts) <= 54
    assert [(tell.mark, tell.count) for tell in tells.find()] == [("Sure", 400)]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("data/test/part-1.parquet", "test"),
        ("train-set/dev.jsonl", "validation"),
        ("contest.jsonl", None),
        ("", None),
    ],
)
def test_the_name_of_a_file_tells_its_split_before_its_folders(path, split):
    assert split_of(path) == split


def test_prompts_in_several_files_and_splits_are_named_by_rows():
    places = PromptPlaces()
    rows = [
        ("train.jsonl:row 1", "What is it?"),
        ("train.jsonl:row 2", "And that?"),
        ("train.jsonl:row 3", "what IS it"),
        ("train-2.jsonl:row 1", "And that?"),
        ("test.jsonl:row 1", "What is it!"),
        ("other.jsonl:row 1", "And that?"),
        ("test.jsonl:row 2", "?!"),
    ]
    for number, (where, question) in enumerate(rows):
        places.add(number, where, question)
    assert places.in_several_files().count == 2
    shared = places.in_several_splits()
    assert (shared.count, shared.rows) == (1, [0, 2, 4])
    assert [set(pair) for pair in shared.examples] in ([{0, 4}], [{2, 4}])
    assert PromptPlaces().in_several_splits().count == 0
