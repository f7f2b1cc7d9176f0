"""An answer that has no reward costs itself: which ones are at fault is found, and the others keep their places."""

import pytest

from rewardsmith.errors import ScoringError, TooLongError, UnreachableError
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.answers import MISSING, NO_ANSWER, NoAnswer, in_places, is_missing, present, without_lost


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
