"""Planted duplicates, contradictions and circles are found with their rows; their absence is seen."""

import numpy as np
import pytest

from rewardsmith.data.checks.contradictions import find_contradictions, find_cycles, find_duplicates
from rewardsmith.data.checks.judgement_table import JudgementTable, RowNames
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
