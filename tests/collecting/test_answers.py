"""Answers in canonical form: what is refused, what a form holds, what they compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.collecting.answers import (
    answer_comparisons,
    check_answer,
    check_judgement,
    form_values,
    judgement_comparisons,
    parse_form,
    signature,
)
from rewardsmith.collecting.project import Project, Question
from rewardsmith.errors import DataError

SCALES = ({"name": "helpfulness", "low": 1, "high": 5}, {"name": "tone", "low": 0, "high": 2})
QUESTIONS = {
    "pair": Question(task="pair", strength=3),
    "strict": Question(task="pair", ties=False, both_bad=False),
    "ranking": Question(task="ranking"),
    "no ties": Question(task="ranking", ties=False),
    "best": Question(task="best"),
    "one best": Question(task="best", both_bad=False),
    "rating": Question(task="rating", scales=SCALES),
    "criteria": Question(task="criteria", criteria=("correct",)),
    "steps": Question(task="steps"),
}


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("pair", {"order": [[0], [1]], "strength": 4}),
        ("pair", {"order": [[0], [1]]}),
        ("pair", {"order": [[0]]}),
        ("pair", {"order": [[0], [0]]}),
        ("pair", {"order": [[0], [1], []], "strength": 1}),
        ("pair", {"order": [[0], [1]], "both_bad": True, "strength": 1}),
        ("strict", {"order": [[0, 1]]}),
        ("strict", {"order": [[0, 1]], "both_bad": True}),
        ("ranking", {"order": [[0, 2], [1]]}),
        ("no ties", {"order": [[0, 1]]}),
        ("best", {"best": 2}),
        ("best", {"best": "0"}),
        ("one best", {"best": None}),
        ("rating", {"ratings": {"helpfulness": [1, 6], "tone": [0, 0]}}),
        ("rating", {"ratings": {"helpfulness": [1, 5]}}),
        ("rating", {"ratings": {"helpfulness": [1], "tone": [0, 0]}}),
        ("criteria", {"criteria": {"correct": [True, None]}}),
        ("criteria", {"criteria": {"correct": [1, 0]}}),
        ("steps", {"first_wrong": [3, None]}),
        ("steps", {"first_wrong": [-2, 0]}),
    ],
)
def test_an_answer_that_is_incomplete_or_out_of_range_is_refused(name, answer):
    with pytest.raises(DataError):
        check_answer(QUESTIONS[name], answer, 2, [3, 0])


def test_what_is_kept_of_a_judgement_is_canonical():
    project = Project(task="pair")
    given = {
        "answers": {"overall": {"order": [[1, 0]], "strength": 2}},
        "rationale": " so ",
        "comment": "",
        "flags": ["x", "broken"],
    }
    assert check_judgement(project, given, 2, [0, 0]) == {
        "answers": {"overall": {"order": [[0, 1]]}},
        "rationale": "so",
        "flags": ["broken"],
    }


def test_a_reason_that_is_required_must_be_there():
    with pytest.raises(DataError, match="say why"):
        check_judgement(Project(rationale="required"), {"answers": {"overall": {"order": [[0], [1]]}}}, 2, [0, 0])


def test_steps_are_asked_only_where_rows_have_steps():
    project = Project(questions=[{"name": "first", "task": "steps"}])
    assert check_judgement(project, {}, 1, [0]) == {"answers": {}}
    with pytest.raises(DataError, match="Please answer"):
        check_judgement(project, {}, 1, [2])


@pytest.mark.parametrize(
    ("answer", "edges"),
    [
        ({"order": [[2], [0, 1]], "strength": 2}, {(0, 1, True, None), (2, 0, False, 2.0), (2, 1, False, 2.0)}),
        ({"best": 1}, {(1, 0, False, None), (1, 2, False, None)}),
        ({"best": None}, set()),
        ({"ratings": {"a": [1, 3, 3], "b": [9, 0, 0]}}, {(1, 2, True, None), (1, 0, False, None), (2, 0, False, None)}),
        ({"criteria": {"correct": [True, False, True]}}, set()),
    ],
)
def test_an_answer_compares_what_it_says_and_no_more(answer, edges):
    assert set(answer_comparisons(answer, 3)) == edges


def test_a_judgement_from_a_file_is_its_own_comparisons():
    stored = {"comparisons": [{"better": 1, "worse": 0, "margin": 2.0}]}
    (edge,) = judgement_comparisons(stored, 2, "whatever")
    assert (edge.better, edge.worse, edge.margin) == (1, 0, 2.0)


def test_two_answers_are_alike_whatever_the_strength():
    assert signature({"order": [[0], [1]], "strength": 1}) == signature({"order": [[0], [1]], "strength": 3})
    assert signature({"order": [[0, 1]]}) != signature({"order": [[0, 1]], "both_bad": True})
    assert signature(None) is None


@given(st.sampled_from(["pair", "ranking", "best", "rating", "criteria", "steps"]), st.data())
def test_a_form_that_is_filled_from_an_answer_is_read_as_that_answer(name, data):
    size = 2 if name == "pair" else data.draw(st.integers(2, 5))
    shown = data.draw(st.permutations(range(size)))
    ranks = data.draw(st.lists(st.integers(1, size), min_size=size, max_size=size))
    order = [[n for n in range(size) if ranks[n] == rank] for rank in sorted(set(ranks))]
    answers = {
        "pair": {"order": order, "strength": 2} if len(order) == 2 else {"order": order},
        "ranking": {"order": order},
        "best": {"best": ranks[0] - 1},
        "rating": {"ratings": {"helpfulness": [min(5, rank) for rank in ranks], "tone": [rank % 3 for rank in ranks]}},
        "criteria": {"criteria": {"correct": [rank > 1 for rank in ranks]}},
        "steps": {"first_wrong": [rank - 2 for rank in ranks]},
    }
    project = Project(questions=[QUESTIONS[name]])
    judgement = {"answers": {"overall": answers[name]}}
    read = parse_form(project, form_values(project, judgement, shown), shown, ())
    assert check_judgement(project, read, size, [9] * size) == check_judgement(project, judgement, size, [9] * size)


@given(st.dictionaries(st.sampled_from(["q0", "q0.0", "q0.1", "q0.strength", "q0.0.0"]), st.text(max_size=12)))
def test_a_form_of_nonsense_is_half_an_answer_never_a_crash(form):
    for name in ("pair", "ranking", "best", "rating", "criteria", "steps"):
        project = Project(questions=[QUESTIONS[name]])
        read = parse_form(project, form, [1, 0], ())
        form_values(project, read, [1, 0])
