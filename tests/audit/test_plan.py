import pytest

from rewardsmith.audit.plan import CachingScorer
from rewardsmith.errors import ScoringError
from rewardsmith.records import Message, ScoreRequest


class Recorder:
    name = "recorder"

    def __init__(self, limit=99):
        self.seen, self.calls, self.limit = [], [], limit

    def score_requests(self, requests):
        if any(len(c) > self.limit for r in requests for c in r.completions):
            raise ScoringError("a completion has too many tokens")
        self.calls.append([len(r.completions) for r in requests])
        self.seen += [(r.prompt, c) for r in requests for c in r.completions]
        return [[float(len(c)) for c in r.completions] for r in requests]


def test_no_text_is_scored_twice_within_or_across_calls():
    inner = Recorder()
    cached = CachingScorer(inner)
    requests = [ScoreRequest("p", ("a", "bb", "a")), ScoreRequest("p", ("bb", "ccc"))]
    assert cached.score_requests(requests) == [[1.0, 2.0, 1.0], [2.0, 3.0]]
    assert cached.score_requests(requests[::-1]) == [[2.0, 3.0], [1.0, 2.0, 1.0]]
    assert len(inner.seen) == len(set(inner.seen)) == cached.num_scored == 3


def test_what_is_new_of_a_prompt_goes_out_in_one_request():
    inner = Recorder()
    cached = CachingScorer(inner)
    cached.score_requests([ScoreRequest("p", ("a",))])
    cached.score_requests([ScoreRequest("p", ("a", "b", "c"))])
    assert inner.calls == [[1], [2]]


def test_prompts_and_tools_tell_texts_apart():
    inner = Recorder()
    cached = CachingScorer(inner)
    told = (Message("user", "p"),)
    cached.score_requests(
        [ScoreRequest("p", ("a",)), ScoreRequest(told, ("a",)), ScoreRequest(told, ("a",), [{"t": 1}])]
    )
    assert cached.num_scored == 3


def test_a_text_that_cannot_be_scored_is_counted_and_the_others_are_scored():
    cached = CachingScorer(Recorder(limit=3))
    rows = cached.try_requests([ScoreRequest("p", ("a", "long text", "b")), ScoreRequest("q", ("c",))])
    assert rows == [[1.0, None, 1.0], [1.0]]
    assert cached.failures == {"too long": 1}
    with pytest.raises(ScoringError, match="long text"):
        cached.score_requests([ScoreRequest("p", ("long text",))])
