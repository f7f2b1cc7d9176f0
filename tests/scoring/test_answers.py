"""An answer that has no reward costs itself: which ones are at fault is found, and the others keep their places."""

from types import SimpleNamespace

import pytest

from rewardsmith.errors import ScoringError, TooLongError, UnreachableError
from rewardsmith.records import ScoreRequest, TokenIds
from rewardsmith.scoring.answers import (
    MISSING,
    NO_ANSWER,
    NoAnswer,
    in_places,
    is_missing,
    make_request,
    present,
    require_vocabulary,
    without_lost,
)


def lengths(request):
    """Counts letters; refuses a letter x, and answers of over five letters by name."""
    if any("x" in answer for answer in request.completions):
        raise ScoringError("x")
    long = {i: TooLongError(f"answer {i}", str(len(a))) for i, a in enumerate(request.completions) if len(a) > 5}
    if long:
        raise TooLongError("some", "6", long)
    return [len(answer) for answer in request.completions]


def test_the_answers_at_fault_are_left_out_and_the_rest_is_run_once_more():
    request = ScoreRequest("q", ("a", "x", NO_ANSWER, "bbbbbbb", "cc"))
    found, lost = without_lost(lengths, request)
    assert found == [1, 2]
    assert {place: str(error) for place, error in lost.items()} == {1: "x", 2: MISSING, 3: "answer 1"}
    assert in_places(found, lost, 5) == [1, None, None, None, 2]


def test_a_request_of_which_nothing_is_left_fails_with_its_first_error():
    with pytest.raises(ScoringError, match=r"^x$"):
        without_lost(lengths, ScoreRequest("q", ("x", "xx")))
    with pytest.raises(ScoringError, match="no answer"):
        without_lost(lengths, ScoreRequest("q", (NO_ANSWER,)))


def test_a_server_that_is_gone_is_no_fault_of_an_answer():
    def gone(request):
        raise UnreachableError("gone")

    with pytest.raises(UnreachableError):
        without_lost(gone, ScoreRequest("q", ("a", "b")))


def test_what_fails_only_together_loses_all():
    def together(request):
        if len(request.completions) > 1:
            raise ScoringError("together")
        return [0]

    with pytest.raises(ScoringError, match="together"):
        without_lost(together, ScoreRequest("q", ("a", "b")))


def test_a_missing_answer_says_why_and_is_taken_out():
    assert (is_missing(NoAnswer("a number")), is_missing(""), NoAnswer("a number").reason) == (True, False, "a number")
    assert present(ScoreRequest("q", ("a", NO_ANSWER))).completions == ("a",)


def test_an_answer_is_a_text_messages_or_ids_and_nothing_else():
    said = {"role": "assistant", "content": "a"}
    answers = ["a", [1, 2], [said], said, True, 5, [True], [1.5], [3, "a"], [-1], {"a": 1}, [], b"a"]
    read = make_request("q", answers, partial=True).completions
    assert read[:2] == ("a", (1, 2))
    assert read[2] == read[3]
    assert all(map(is_missing, read[4:]))


def test_ids_outside_the_vocabulary_are_named():
    scorer = SimpleNamespace(tokenizer=range(10))
    require_vocabulary(scorer, TokenIds([0, 9]))
    with pytest.raises(ScoringError, match="token id 10 is outside the vocabulary of 10"):
        require_vocabulary(scorer, TokenIds([1, 10]))
